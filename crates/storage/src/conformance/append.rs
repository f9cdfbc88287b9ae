//! What append answers, and what is there afterwards.

use w3bstream_types::{Envelope, Form, MessageId, Position, Record};

use super::fixtures::{Message, numbered, project};
use super::{Failure, Place, ensure};
use crate::{Appended, ConflictEvidence, Filter, Item, MAX_CONFLICTS_PER_MESSAGE, Storage};

/// The position of an item that must be new.
pub(super) fn new_position(appended: Appended) -> Result<Position, Failure> {
    match appended {
        Appended::New(position) => Ok(position),
        other => Err(Failure::new(format!("a new item was answered with {other:?}"))),
    }
}

/// Appends new items one batch each and gives their positions.
pub(super) async fn append_new(store: &dyn Storage, items: &[Item]) -> Result<Vec<Position>, Failure> {
    let appended = store.append(items.to_vec()).await?;
    ensure!(appended.len() == items.len(), "{} answers for {} items", appended.len(), items.len());
    appended.into_iter().map(new_position).collect()
}

/// Everything of project 1.
pub(super) async fn all(store: &dyn Storage) -> Result<Vec<(Position, Item)>, Failure> {
    let filter = Filter { project: Some(project(1)), ..Filter::default() };
    Ok(store.scan(&filter, Position(0), 100_000).await?)
}

/// Every form, size and origin comes back byte for byte, with trust and time.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn items_come_back_as_they_went_in(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let plain = Message::default();
    let items = vec![
        plain.envelope()?,
        Message { sequence: 1, payload: vec![], ..plain.clone() }.envelope()?,
        Message { sequence: u64::MAX, payload: vec![0xff; 300_000], ..plain.clone() }.envelope()?,
        Message { sequence: 2, ..plain.clone() }.jws()?,
        Message { source: 2, received_at: 0, ..plain.clone() }.envelope()?,
        plain.token()?,
        Message { sequence: 7, payload: vec![0], event_type: "other", ..plain.clone() }.token()?,
        plain.trigger()?,
        Message { payload: vec![1], ..plain.clone() }.trigger()?,
        Message { sequence: 9, ..plain }.session()?,
    ];
    let positions = append_new(&*store, &items).await?;
    let ids: Vec<MessageId> = items.iter().map(|i| i.record.id()).collect();
    let got = store.get(&ids).await?;
    ensure!(got.len() == ids.len(), "get answered for {} of {} ids", got.len(), ids.len());
    for (i, (got, (item, position))) in got.iter().zip(items.iter().zip(&positions)).enumerate() {
        ensure!(got.as_ref() == Some(&(*position, item.clone())), "get gave item {i} back as {got:?}");
    }
    let scanned = all(&*store).await?;
    let expected: Vec<(Position, Item)> = positions.into_iter().zip(items).collect();
    ensure!(scanned == expected, "scan gave {scanned:?} back");
    let nothing = store.append(vec![]).await?;
    ensure!(nothing.is_empty(), "an empty batch was answered with {nothing:?}");
    Ok(())
}

/// A repeat, in the same batch or later, is a `Duplicate` at the position of the first, and stored once.
///
/// # Errors
/// [`Failure`].
pub async fn repeats_are_duplicates(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let (signed, token) = (numbered(1)?, Message::default().token()?);
    let first = store.append(vec![signed.clone(), token.clone(), signed.clone()]).await?;
    let [Appended::New(p), Appended::New(q), third] = first[..] else {
        return Err(Failure::new(format!("two new items and a repeat were answered with {first:?}")));
    };
    ensure!(third == Appended::Duplicate(p), "a repeat inside a batch was answered with {third:?}");
    // It comes again later, over another way, and signed anew: ECDSA signatures are malleable, and the id
    // is that of the signed bytes.
    let later = Item { received_at: w3bstream_types::Timestamp(9), ..signed.clone() };
    let again = store.append(vec![token.clone(), later, resigned(&signed)?, numbered(2)?]).await?;
    let expected = [Appended::Duplicate(q), Appended::Duplicate(p), Appended::Duplicate(p)];
    ensure!(again.len() == 4 && again[..3] == expected, "repeats were answered with {again:?}");
    let third = new_position(again[3])?;
    let scanned = all(&*store).await?;
    let expected = vec![(p, signed), (q, token), (third, numbered(2)?)];
    ensure!(scanned == expected, "after repeats the store holds {scanned:?}");
    Ok(())
}

fn resigned(item: &Item) -> Result<Item, Failure> {
    let Form::Envelope(e) = item.record.form() else {
        return Err(Failure::new("the kit's own fixture is broken: no envelope"));
    };
    let header = e.header().clone();
    let draft = w3bstream_types::Draft {
        audience: header.audience,
        key: header.key,
        event_type: header.event_type,
        sequence: header.sequence,
        time: header.time,
        payload: e.payload().to_vec(),
    };
    let record = Record::new(Form::Envelope(Envelope::new(draft, *e.salt(), [9; 64])));
    Ok(Item { record, ..item.clone() })
}

/// Another message with a sequence number that is taken is refused, kept as evidence once, and never found
/// among the records. The same number of another device or project is nobody's conflict.
///
/// # Errors
/// [`Failure`].
pub async fn conflicts_are_refused_and_kept(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let kept = numbered(5)?;
    let other = Message { sequence: 5, payload: b"other".to_vec(), ..Message::default() };
    let refused = other.envelope()?;
    // The same content in another form is another message too.
    let as_jws = Message { sequence: 5, ..Message::default() }.jws()?;
    let answers = store.append(vec![kept.clone(), refused.clone(), as_jws.clone()]).await?;
    let conflict = Appended::Conflict(kept.record.id());
    let holds = matches!(answers[..], [Appended::New(_), a, b] if a == conflict && b == conflict);
    ensure!(holds, "a taken sequence number was answered with {answers:?}");
    let repeated = store.append(vec![refused.clone(), kept.clone()]).await?;
    let holds = matches!(repeated[..], [a, Appended::Duplicate(_)] if a == conflict);
    ensure!(holds, "a repeated conflict and the record itself were answered with {repeated:?}");

    let elsewhere = [
        Message { source: 2, ..other.clone() }.envelope()?,
        Message { project: 2, ..other.clone() }.envelope()?,
    ];
    append_new(&*store, &elsewhere).await?;
    let found = store.get(&[refused.record.id(), kept.record.id()]).await?;
    let holds = matches!(&found[..], [None, Some((_, item))] if *item == kept);
    ensure!(holds, "get found {found:?}");
    ensure!(all(&*store).await?.len() == 2, "a refused message is among the records");
    let evidence = store.conflicts(project(1), 10).await?;
    let expected: Vec<ConflictEvidence> =
        [refused, as_jws].map(|refused| ConflictEvidence { kept: kept.record.id(), refused }).into();
    ensure!(evidence == expected, "the evidence is {evidence:?}");
    ensure!(store.conflicts(project(2), 10).await?.is_empty(), "project 2 has project 1's conflicts");
    ensure!(store.conflicts(project(1), 1).await?.len() == 1, "conflicts ignores its limit");

    let many: Result<Vec<Item>, Failure> =
        (0..20).map(|i| Message { payload: vec![i, i], ..other.clone() }.envelope()).collect();
    let answers = store.append(many?).await?;
    ensure!(answers.iter().all(|a| *a == conflict), "further conflicts were answered with {answers:?}");
    let kept = store.conflicts(project(1), 100).await?.len();
    ensure!(kept == MAX_CONFLICTS_PER_MESSAGE, "{kept} conflicts of one sequence number were kept");
    Ok(())
}

/// A token message's id does not bind its bytes: the same event id with other bytes is a conflict.
///
/// # Errors
/// [`Failure`].
pub async fn token_events_conflict_by_their_bytes(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let first = Message::default();
    let other = Message { payload: b"other".to_vec(), ..first.clone() }.token()?;
    let kept = first.token()?;
    let id = kept.record.id();
    let answers = store.append(vec![kept.clone(), other.clone(), kept.clone()]).await?;
    let holds = matches!(answers[..], [Appended::New(p), a, b]
        if a == Appended::Conflict(id) && b == Appended::Duplicate(p));
    ensure!(holds, "an event id with other bytes was answered with {answers:?}");
    let found = store.get(&[id]).await?;
    ensure!(matches!(&found[..], [Some((_, item))] if *item == kept), "get found {found:?}");
    let evidence = store.conflicts(project(1), 10).await?;
    ensure!(evidence == [ConflictEvidence { kept: id, refused: other }], "the evidence is {evidence:?}");
    // Event ids belong to their publisher and project.
    let elsewhere =
        [Message { source: 2, ..first.clone() }.token()?, Message { project: 2, ..first }.token()?];
    append_new(&*store, &elsewhere).await?;
    Ok(())
}

/// Positions rise with each item, are above zero, and a scan returns them in that order.
///
/// # Errors
/// [`Failure`].
pub async fn positions_rise(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let mut last = Position(0);
    // Not in the order of their numbers: the order is that of arrival.
    for start in [50, 10, 90] {
        let batch: Result<Vec<Item>, Failure> = (0..5).rev().map(|i| numbered(start + i)).collect();
        for position in append_new(&*store, &batch?).await? {
            ensure!(position > last, "position {} came after {}", position.0, last.0);
            last = position;
        }
    }
    let scanned = all(&*store).await?;
    ensure!(scanned.len() == 15, "scan found {} of 15", scanned.len());
    ensure!(scanned.is_sorted_by(|a, b| a.0 < b.0), "scan is not in the order of positions");
    let first = scanned.first().and_then(|(_, item)| item.record.sequence()).map(|s| s.as_u64());
    ensure!(first == Some(54), "the first item is number {first:?}, not the one that arrived first");
    Ok(())
}

/// Get answers one for one, with `None` for what is unknown.
///
/// # Errors
/// [`Failure`].
pub async fn get_answers_in_the_order_asked(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let items = [numbered(1)?, numbered(2)?, numbered(3)?];
    append_new(&*store, &items).await?;
    let unknown = numbered(99)?.record.id();
    let [a, b, c] = items.each_ref().map(|i| i.record.id());
    let asked = [c, unknown, a, b, c];
    let got = store.get(&asked).await?;
    let got: Vec<Option<MessageId>> = got.iter().map(|g| g.as_ref().map(|(_, i)| i.record.id())).collect();
    let expected: Vec<Option<MessageId>> = asked.iter().map(|id| (*id != unknown).then_some(*id)).collect();
    ensure!(got == expected, "get answered {got:?}");
    ensure!(store.get(&[]).await?.is_empty(), "get of nothing gave something");
    Ok(())
}
