//! The submitter: one thing at a time, then all at once.

mod chaos;
pub(crate) mod support;

use std::sync::atomic::Ordering;

use w3bstream_chain::conformance::{block_on, fixture};
use w3bstream_chain::memory::{Fate, Troubles};
use w3bstream_chain::submit::{
    Cancel, Offered, Outcome, Refusal, Report, Submitter, TxJournal as _, Warning,
};
use w3bstream_chain::{Chain as _, Error, ErrorKind, Reason, Revert};
use w3bstream_types::{Address, Timestamp};

use support::{Bench, ETHER, account, calling, counter, effects, intent, signed};

fn calm() -> Bench {
    Bench::new(1, Troubles::default())
}

async fn started(bench: &mut Bench) -> Submitter {
    let mut submitter = bench.open().await;
    bench.tick(&mut submitter).await;
    submitter
}

async fn until_finished(bench: &mut Bench, submitter: &mut Submitter) -> Outcome {
    for _ in 0..40 {
        let report = bench.block(submitter).await;
        if let Some((_, outcome)) = report.finished.into_iter().next() {
            return outcome;
        }
    }
    panic!("nothing came to an end: {submitter:?}");
}

fn warned(report: &Report, kind: fn(&Warning) -> bool) -> bool {
    report.warnings.iter().any(kind)
}

#[test]
fn an_intent_is_done_when_it_is_deep_enough_and_not_before() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = bench.open().await;
        let early = bench.offer(&mut submitter, intent(1)).await;
        assert!(matches!(early, Offered::Later(_)), "{early:?}");
        bench.tick(&mut submitter).await;
        assert_eq!(bench.offer(&mut submitter, intent(1)).await, Offered::Taken(0));
        assert_eq!(bench.offer(&mut submitter, intent(1)).await, Offered::Taken(0));
        assert_eq!(submitter.transactions(intent(1).id), [bench.submitted()[0].hash()]);
        for confirmations in 1..=4 {
            let report = bench.block(&mut submitter).await;
            assert_eq!(report.finished.len(), usize::from(confirmations == 4), "{confirmations}");
        }
        let Offered::Finished(Outcome::Done(mined)) = bench.offer(&mut submitter, intent(1)).await else {
            panic!("not done");
        };
        assert_eq!(mined.number, 1);
        assert_eq!(bench.submitted().len(), 1);
        assert_eq!(effects(&bench.memory, &intent(1).data), 1);
        // Outcomes outlive the process until they are forgotten; the nonce is never used again.
        let mut submitter = bench.open().await;
        assert_eq!(submitter.finished(), [(intent(1).id, Outcome::Done(mined))]);
        submitter.forget(intent(1).id).await.unwrap();
        assert_eq!(submitter.finished(), []);
        let mut submitter = bench.open().await;
        bench.chain.lie.store(-1, Ordering::SeqCst);
        bench.tick(&mut submitter).await;
        assert_eq!(bench.offer(&mut submitter, intent(2)).await, Offered::Taken(1));
    });
}

#[test]
fn what_would_fail_is_not_sent() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        let data = [b"!".as_slice(), &fixture::error_string("not today")].concat();
        let Offered::Refused(Refusal::Reverts(revert)) = bench.offer(&mut submitter, calling(1, &data)).await
        else {
            panic!("not refused");
        };
        assert_eq!(revert.reason(), Reason::Message("not today".into()));
        bench.settings.max_gas = 30_000;
        let mut submitter = started(&mut bench).await;
        let refused = bench.offer(&mut submitter, intent(2)).await;
        assert!(matches!(refused, Offered::Refused(Refusal::TooMuchGas(gas)) if gas > 30_000), "{refused:?}");
        assert_eq!(bench.submitted(), []);
        assert_eq!(submitter.in_flight(), 0);
    });
}

#[test]
fn what_fails_in_its_block_says_why() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        // Both work when they are tried; the second one fails once the first is mined.
        bench.memory.set_capacity(1);
        assert_eq!(bench.offer(&mut submitter, calling(1, b"1 only")).await, Offered::Taken(0));
        assert_eq!(bench.offer(&mut submitter, calling(2, b"1 only")).await, Offered::Taken(1));
        assert!(matches!(until_finished(&mut bench, &mut submitter).await, Outcome::Done(_)));
        let outcome = until_finished(&mut bench, &mut submitter).await;
        assert!(matches!(&outcome, Outcome::Reverted(_, why) if why.data == b"again"), "{outcome:?}");
        assert_eq!(effects(&bench.memory, b"1 only"), 1);
    });
}

#[test]
fn a_stuck_transaction_is_replaced_by_one_that_pays_more() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, intent(1)).await;
        bench.offer(&mut submitter, intent(2)).await;
        bench.memory.set_base_fee(100_000_000_000);
        for _ in 0..8 {
            bench.block(&mut submitter).await;
        }
        let sent = bench.submitted();
        let fees: Vec<u128> =
            sent.iter().filter(|t| t.transaction().nonce == 0).map(|t| t.transaction().max_fee).collect();
        assert!(fees.len() >= 2 && fees.windows(2).all(|w| w[1] * 8 >= w[0] * 9), "{fees:?}");
        assert!(sent.iter().all(|t| t.transaction().data == intent(1 + t.transaction().nonce).data));
        // The one behind it waited; a higher fee would have helped nothing.
        let behind = sent.iter().filter(|t| t.transaction().nonce == 1).count();
        assert!(behind <= fees.len(), "{sent:?}");
        for _ in 0..20 {
            bench.block(&mut submitter).await;
        }
        let done = |o: &Outcome| matches!(o, Outcome::Done(_));
        assert_eq!(submitter.finished().iter().filter(|(_, o)| done(o)).count(), 2, "{submitter:?}");
        assert_eq!(effects(&bench.memory, &intent(1).data), 1);
    });
}

#[test]
fn nothing_pays_more_than_the_cap_and_all_goes_on_when_fees_fall() {
    block_on(async {
        let mut bench = calm();
        bench.settings.max_fee = 20_000_000_000;
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, intent(1)).await;
        bench.memory.set_base_fee(100_000_000_000);
        let mut capped = false;
        for _ in 0..60 {
            let report = bench.block(&mut submitter).await;
            capped |= warned(&report, |w| matches!(w, Warning::FeeCap { .. }));
        }
        assert!(capped);
        let later = bench.offer(&mut submitter, intent(2)).await;
        assert!(matches!(later, Offered::Later(_)), "{later:?}");
        assert!(bench.submitted().iter().all(|t| t.transaction().max_fee <= 20_000_000_000));
        bench.memory.set_base_fee(1_000_000_000);
        assert!(matches!(until_finished(&mut bench, &mut submitter).await, Outcome::Done(_)));
    });
}

#[test]
fn the_number_of_attempts_is_bounded() {
    block_on(async {
        let mut bench = calm();
        bench.settings.max_attempts = 3;
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, intent(1)).await;
        bench.memory.set_capacity(0);
        let mut stuck = false;
        for _ in 0..60 {
            let report = bench.block(&mut submitter).await;
            stuck |= warned(&report, |w| matches!(w, Warning::Stuck { nonce: 0 }));
        }
        assert!(stuck);
        assert_eq!(submitter.transactions(intent(1).id).len(), 3);
    });
}

#[test]
fn a_dropped_transaction_is_sent_again_as_it_was() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, intent(1)).await;
        assert_eq!(bench.memory.drop_pending().len(), 1);
        // Too early to say that it is lost.
        bench.tick(&mut submitter).await;
        assert_eq!(bench.submitted().len(), 1);
        bench.tick(&mut submitter).await;
        let sent = bench.submitted();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0], sent[1]);
        assert!(matches!(until_finished(&mut bench, &mut submitter).await, Outcome::Done(_)));
    });
}

#[test]
fn what_a_reorganisation_takes_away_is_sent_again() {
    block_on(async {
        for fate in [Fate::Pooled, Fate::Dropped] {
            let mut bench = calm();
            let mut submitter = started(&mut bench).await;
            bench.offer(&mut submitter, intent(1)).await;
            for _ in 0..3 {
                assert!(bench.block(&mut submitter).await.finished.is_empty());
            }
            assert_eq!(effects(&bench.memory, &intent(1).data), 1);
            bench.memory.reorg(3, fate);
            assert_eq!(effects(&bench.memory, &intent(1).data), 0);
            let Outcome::Done(mined) = until_finished(&mut bench, &mut submitter).await else {
                panic!("not done")
            };
            assert!(mined.number > 3, "{mined:?}");
            assert_eq!(effects(&bench.memory, &intent(1).data), 1);
        }
    });
}

#[test]
fn a_nonce_that_somebody_else_used_is_given_up_only_when_that_is_deep() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, intent(1)).await;
        bench.memory.submit(&signed(0, 400, b"foreign")).await.unwrap();
        let mut foreign_at = None;
        for block in 1..=10u64 {
            let report = bench.block(&mut submitter).await;
            if warned(&report, |w| matches!(w, Warning::Foreign { nonce: 0, .. })) {
                foreign_at = foreign_at.or(Some(block));
            }
            let nonces = bench.submitted().iter().map(|t| t.transaction().nonce).max();
            assert_eq!(nonces, Some(u64::from(block >= 4)), "after {block} blocks");
        }
        assert_eq!(foreign_at, Some(4));
        assert_eq!(effects(&bench.memory, &intent(1).data), 1);
        assert_eq!(submitter.finished().len(), 1);
    });
}

#[test]
fn an_intent_whose_nonce_is_lost_and_that_cannot_work_any_more_ends() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, calling(1, b"1 same")).await;
        bench.memory.submit(&signed(0, 400, b"1 same")).await.unwrap();
        let outcome = until_finished(&mut bench, &mut submitter).await;
        let again = Outcome::Cancelled(Cancel::Reverts(Revert::new(b"again".to_vec())));
        assert_eq!(outcome, again);
        assert_eq!(effects(&bench.memory, b"1 same"), 1);
    });
}

#[test]
fn an_intent_that_fails_by_now_is_replaced_by_nothing() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.memory.set_base_fee(3_000_000_000);
        bench.offer(&mut submitter, calling(1, b"1 same")).await;
        bench.memory.set_base_fee(50_000_000_000);
        // Another member of the subnet was faster.
        let other =
            w3bstream_types::SecretKey::from_bytes(w3bstream_types::Algorithm::ES256K, &[8; 32]).unwrap();
        bench.memory.fund(Address::of_key(&other.public()).unwrap(), ETHER);
        let transaction = signed(0, 400, b"1 same").transaction().clone();
        let signature = other.sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
        let theirs = w3bstream_chain::SignedTransaction::new(transaction, &signature).unwrap();
        bench.memory.submit(&theirs).await.unwrap();
        let outcome = until_finished(&mut bench, &mut submitter).await;
        assert!(matches!(outcome, Outcome::Cancelled(Cancel::Reverts(_))), "{outcome:?}");
        let last = bench.submitted().pop().unwrap();
        assert_eq!((last.transaction().to, last.transaction().data.len()), (Some(account()), 0));
        assert_eq!(bench.memory.nonces(account()).await.unwrap().latest, 1);
    });
}

#[test]
fn what_the_node_refuses_for_ever_is_cancelled_and_blocks_nobody() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.hook(|t| {
            let refused = t.transaction().data == intent(1).data;
            refused.then(|| Error::new(ErrorKind::Rejected, "too large for this node"))
        });
        assert_eq!(bench.offer(&mut submitter, intent(1)).await, Offered::Taken(0));
        assert_eq!(bench.offer(&mut submitter, intent(2)).await, Offered::Taken(1));
        let outcome = until_finished(&mut bench, &mut submitter).await;
        let Outcome::Cancelled(Cancel::Rejected(why)) = &outcome else { panic!("{outcome:?}") };
        assert!(why.contains("too large for this node"), "{why}");
        let tries = bench.submitted().iter().filter(|t| t.transaction().data == intent(1).data).count();
        assert_eq!(tries, 3, "it is tried again, and not for ever");
        while effects(&bench.memory, &intent(2).data) == 0 {
            bench.block(&mut submitter).await;
        }
        assert_eq!(effects(&bench.memory, &intent(1).data), 0);
        // It was cancelled for good, so it may have another nonce.
        bench.hook(|_| None);
        submitter.forget(intent(1).id).await.unwrap();
        assert_eq!(bench.offer(&mut submitter, intent(1)).await, Offered::Taken(2));
    });
}

#[test]
fn a_gap_of_nonces_is_filled() {
    block_on(async {
        let mut bench = calm();
        // A node that lies consistently is believed, which costs three empty transfers and nothing else.
        bench.chain.lie.store(3, Ordering::SeqCst);
        let mut submitter = started(&mut bench).await;
        assert_eq!(bench.offer(&mut submitter, intent(1)).await, Offered::Taken(3));
        bench.chain.lie.store(0, Ordering::SeqCst);
        let mut filling = false;
        while effects(&bench.memory, &intent(1).data) == 0 {
            let report = bench.block(&mut submitter).await;
            filling |= warned(&report, |w| matches!(w, Warning::Gap { filling: true, to: 3, .. }));
            assert!(bench.now < 3_000_000, "the gap is not filled: {submitter:?}");
        }
        assert!(filling);
        assert!(matches!(until_finished(&mut bench, &mut submitter).await, Outcome::Done(_)));
        let used: Vec<_> = bench.submitted().iter().map(|t| t.transaction().nonce).collect();
        assert_eq!(used.iter().filter(|n| **n < 3).count(), 3, "{used:?}");
        for n in 2..=3 {
            assert_eq!(bench.offer(&mut submitter, intent(n)).await, Offered::Taken(n + 2));
        }
    });
}

#[test]
fn too_wide_a_gap_is_left_to_the_operator() {
    block_on(async {
        let mut bench = calm();
        bench.chain.lie.store(1000, Ordering::SeqCst);
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, intent(1)).await;
        bench.chain.lie.store(0, Ordering::SeqCst);
        let mut told = false;
        for _ in 0..12 {
            let report = bench.block(&mut submitter).await;
            told |= warned(&report, |w| matches!(w, Warning::Gap { from: 0, to: 1000, filling: false }));
        }
        assert!(told);
        assert!(bench.submitted().iter().all(|t| t.transaction().nonce == 1000));
    });
}

#[test]
fn an_empty_account_is_reported_and_goes_on_when_it_has_money() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.hook(|_| Some(Error::new(ErrorKind::InsufficientFunds, "no money")));
        assert_eq!(bench.offer(&mut submitter, intent(1)).await, Offered::Taken(0));
        let mut told = false;
        for _ in 0..4 {
            let report = bench.block(&mut submitter).await;
            told |= warned(&report, |w| matches!(w, Warning::LowBalance { needed, .. } if *needed > 0));
        }
        assert!(told);
        bench.hook(|_| None);
        assert!(matches!(until_finished(&mut bench, &mut submitter).await, Outcome::Done(_)));
        bench.settings.low_balance = 2_000_000 * ETHER;
        let mut submitter = bench.open().await;
        let report = bench.tick(&mut submitter).await;
        assert!(warned(&report, |w| matches!(w, Warning::LowBalance { .. })), "{report:?}");
    });
}

#[test]
fn what_is_in_the_journal_and_was_never_sent_is_sent_after_a_crash() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        bench.hook(|_| Some(Error::new(ErrorKind::Unavailable, "the process dies here")));
        assert_eq!(bench.offer(&mut submitter, intent(1)).await, Offered::Taken(0));
        drop(submitter);
        bench.hook(|_| None);
        let mut submitter = bench.open().await;
        assert_eq!(submitter.in_flight(), 1);
        assert!(matches!(until_finished(&mut bench, &mut submitter).await, Outcome::Done(_)));
        assert_eq!(submitter.finished()[0].0, intent(1).id);
    });
}

#[test]
fn no_more_than_allowed_are_in_flight() {
    block_on(async {
        let mut bench = calm();
        let mut submitter = started(&mut bench).await;
        for n in 0..5 {
            assert_eq!(bench.offer(&mut submitter, intent(n)).await, Offered::Taken(n));
        }
        assert!(matches!(bench.offer(&mut submitter, intent(5)).await, Offered::Later(_)));
        assert_eq!(submitter.in_flight(), 5);
        until_finished(&mut bench, &mut submitter).await;
        assert_eq!(bench.offer(&mut submitter, intent(5)).await, Offered::Taken(5));
    });
}

#[test]
fn another_chain_and_a_broken_journal_stop_it() {
    block_on(async {
        let mut bench = calm();
        let wrong = Submitter::open(bench.ports(), 8, bench.settings.clone()).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::WrongChain, "{wrong}");
        let mut submitter = started(&mut bench).await;
        bench.offer(&mut submitter, intent(1)).await;
        let records = bench.journal.load(submitter.account()).await.unwrap();
        let good = records[0].1.clone();
        for bad in [vec![(0, Some(b"?".to_vec()))], vec![(0, Some(good.clone())), (1, Some(good))]] {
            bench.journal.save(submitter.account(), bad).await.unwrap();
            let e = Submitter::open(bench.ports(), 7, bench.settings.clone()).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
        }
        // What a node says may not stop it, unless it is another chain's.
        bench.hook(|_| Some(Error::new(ErrorKind::WrongChain, "another chain")));
        let e = submitter.offer(intent(2), Timestamp(bench.now)).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WrongChain);
        assert_ne!(counter(), account());
    });
}
