//! The sequence window against a model that remembers everything.

use std::collections::HashSet;

use proptest::prelude::*;
use w3bstream_types::*;

/// Remembers every number that was accepted.
#[derive(Default)]
struct Model {
    seen: HashSet<u64>,
    highest: Option<Sequence>,
}

impl Model {
    fn accept(&mut self, s: Sequence) -> WindowVerdict {
        if let Some(highest) = self.highest {
            let same = s.epoch() == highest.epoch();
            if s.epoch() < highest.epoch()
                || same && u64::from(s.counter()) + 4096 <= u64::from(highest.counter())
            {
                return WindowVerdict::TooOld;
            }
            if !self.seen.insert(s.as_u64()) {
                return WindowVerdict::Seen;
            }
        }
        self.seen.insert(s.as_u64());
        self.highest = self.highest.max(Some(s));
        WindowVerdict::New
    }
}

fn near(highest: u32) -> impl Strategy<Value = Sequence> {
    let counter = prop_oneof![
        4 => 0..highest,
        2 => prop::sample::select(vec![0, 1, 63, 64, 65, 4031, 4032, 4033, 4094, 4095, 4096, 4097, 8191, 8192]),
        1 => (u32::MAX - 5000)..=u32::MAX,
    ];
    (prop_oneof![20 => Just(0u32), 2 => Just(1), 1 => Just(u32::MAX)], counter)
        .prop_map(|(epoch, counter)| Sequence::new(epoch, counter))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Few numbers, many repeats, and a highest that moves on in small steps.
    #[test]
    fn remembers_what_it_moves(steps in proptest::collection::vec((1..70u32, 0..400u32), 1..60)) {
        let (mut window, mut model, mut highest) = (SequenceWindow::default(), Model::default(), 0);
        for (step, back) in steps {
            highest += step;
            for counter in [highest, highest.saturating_sub(back), highest.saturating_sub(back / 2)] {
                let s = Sequence::new(0, counter);
                prop_assert_eq!(window.accept(s), model.accept(s), "{:?}", s);
            }
        }
        for counter in 0..=highest {
            let s = Sequence::new(0, counter);
            prop_assert_eq!(window.check(s), model.accept(s), "{:?}", s);
        }
    }

    #[test]
    fn agrees_with_the_model(numbers in proptest::collection::vec(near(9000), 0..200)) {
        let (mut window, mut model) = (SequenceWindow::default(), Model::default());
        for s in numbers {
            let before = window.check(s);
            let verdict = window.accept(s);
            prop_assert_eq!(before, verdict);
            prop_assert_eq!(verdict, model.accept(s), "{:?}", s);
            prop_assert_eq!(window.highest(), model.highest);
        }
        let again = SequenceWindow::from_canonical(&window.to_canonical()).unwrap();
        prop_assert_eq!(&again, &window);
    }

    #[test]
    fn a_sequence_is_one_number(v in any::<u64>()) {
        let s = Sequence::from_u64(v);
        prop_assert_eq!(Sequence::new(s.epoch(), s.counter()), s);
        prop_assert_eq!(s.to_string().parse::<Sequence>().unwrap(), s);
    }
}

#[test]
fn the_window_ends_at_4096() {
    let mut window = SequenceWindow::default();
    assert_eq!(window.next_epoch(), 0);
    assert_eq!(window.accept(Sequence::new(3, 10_000)), WindowVerdict::New);
    assert_eq!(window.check(Sequence::new(3, 10_000 - 4095)), WindowVerdict::New);
    assert_eq!(window.check(Sequence::new(3, 10_000 - 4096)), WindowVerdict::TooOld);
    assert_eq!(window.accept(Sequence::new(3, 10_000 - 4095)), WindowVerdict::New);
    assert_eq!(window.accept(Sequence::new(3, 10_000 - 4095)), WindowVerdict::Seen);
    // One step on, and what was at the edge is below it.
    assert_eq!(window.accept(Sequence::new(3, 10_001)), WindowVerdict::New);
    assert_eq!(window.check(Sequence::new(3, 10_000 - 4095)), WindowVerdict::TooOld);
    assert_eq!(window.check(Sequence::new(2, u32::MAX)), WindowVerdict::TooOld);
    assert_eq!(window.next_epoch(), 4);
    assert_eq!(window.accept(Sequence::new(4, 0)), WindowVerdict::New);
    assert_eq!(window.check(Sequence::new(3, 10_002)), WindowVerdict::TooOld);
}

#[test]
fn windows_that_no_messages_give_are_refused() {
    let encode = |epoch: u64, highest: Option<u64>, map: &[u8]| {
        let mut e = Encoder::new();
        e.array(5).text(SequenceWindow::DOMAIN).u64(1).u64(epoch);
        e.option(highest.as_ref(), |e, h| {
            e.u64(*h);
        });
        e.bytes(map);
        SequenceWindow::from_canonical(&e.into_bytes())
    };
    assert!(encode(0, None, &[]).is_ok());
    assert!(encode(1, Some(2), &[0, 0, 0, 0, 0, 0, 0, 0b111]).is_ok());
    assert!(encode(1, None, &[]).is_err(), "an epoch that nothing was seen of");
    assert!(encode(0, None, &[1]).is_err(), "seen, but nothing is the highest");
    assert!(encode(1, Some(2), &[0, 0, 0, 0, 0, 0, 0, 0b110]).is_err(), "the highest was not seen");
    assert!(encode(1, Some(2), &[0, 0, 0, 0, 0, 0, 0, 0b1001]).is_err(), "below counter 0");
    assert!(encode(1, Some(2), &[0, 0, 0, 0, 0, 0, 0, 1, 0]).is_err(), "a zero too many");
    assert!(encode(1, Some(9000), &[1; 513]).is_err(), "more than 4,096 bits");
    assert!(encode(1 << 32, Some(0), &[0, 0, 0, 0, 0, 0, 0, 1]).is_err(), "an epoch above 2^32");
}

#[test]
fn sequences_are_written_in_one_way() {
    for bad in ["", "-1", "+1", "01", " 1", "1.0", "0x1", "18446744073709551616"] {
        assert!(bad.parse::<Sequence>().is_err(), "{bad:?}");
    }
    assert_eq!("18446744073709551615".parse::<Sequence>().unwrap(), Sequence::new(u32::MAX, u32::MAX));
}
