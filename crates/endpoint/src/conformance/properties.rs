//! The properties, one function each.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{join, join_all};
use w3bstream_types::{Accepted, AckMode, Form, MessageId, Received, Refusal, RefusalKind, Submission};

use super::timing::{PATIENCE, QUIET, pause, within};
use super::{Device, Failure, Fixture, Limits, Outcome, Running, Seen, Sight, messages};
use crate::{Answer, Arrival, Endpoint};

const MANY: usize = 40;

fn fail(property: &'static str, what: impl Into<String>) -> Failure {
    Failure { property, what: what.into() }
}

fn id_of(received: &Received) -> Option<MessageId> {
    match &received.submission {
        Submission::Signed(record) => Some(record.id()),
        Submission::Token { .. } | Submission::Session { .. } => None,
    }
}

fn accepted(received: &Received) -> Answer {
    let Some(id) = id_of(received) else { return refused(RefusalKind::Malformed) };
    Ok(Accepted { id, duplicate: false, mode: AckMode::Durable, results: Vec::new() })
}

fn refused(kind: RefusalKind) -> Answer {
    Err(Refusal::new(kind, "as the kit asked"))
}

/// Takes `count` arrivals, or says how many came.
async fn take(endpoint: &Arc<dyn Endpoint>, count: usize) -> Result<Vec<Arrival>, String> {
    let mut out = Vec::new();
    while out.len() < count {
        match within(PATIENCE, endpoint.next()).await {
            Some(Some(arrival)) => out.push(arrival),
            Some(None) => return Err(format!("next() ended after {} of {count} arrivals", out.len())),
            None => return Err(format!("only {} of {count} arrivals came", out.len())),
        }
    }
    Ok(out)
}

/// Reads `count` answers; each message must have exactly one.
async fn see(device: &mut dyn Device, count: usize) -> Result<Vec<Seen>, String> {
    let mut out: Vec<Seen> = Vec::new();
    while out.len() < count {
        match within(PATIENCE, device.seen()).await {
            Some(Some(seen)) if out.iter().any(|s| s.index == seen.index) => {
                return Err(format!("message {} was answered twice", seen.index));
            }
            Some(Some(seen)) => out.push(seen),
            Some(None) => return Err(format!("the device saw only {} of {count} answers", out.len())),
            None => return Err(format!("{} of {count} messages were never answered", count - out.len())),
        }
    }
    Ok(out)
}

async fn silence(device: &mut dyn Device) -> Result<(), String> {
    match within(QUIET, device.seen()).await {
        None | Some(None) => Ok(()),
        Some(Some(seen)) => Err(format!("message {} was answered as {:?}", seen.index, seen.sight)),
    }
}

fn expect_all(seen: &[Seen], sight: Sight) -> Result<(), String> {
    match seen.iter().find(|s| s.sight != sight) {
        None => Ok(()),
        Some(s) => Err(format!("message {} was seen as {:?} instead of {sight:?}", s.index, s.sight)),
    }
}

fn same(sent: &[Received], arrivals: &[Arrival]) -> Result<(), String> {
    for (index, (sent, arrival)) in sent.iter().zip(arrivals).enumerate() {
        let (a, b) = (&sent.submission, &arrival.received.submission);
        let equal = match (a, b) {
            (Submission::Signed(a), Submission::Signed(b)) => match (a.form(), b.form()) {
                (Form::Jws(a), Form::Jws(b)) => a.compact() == b.compact(),
                (a, b) => a == b,
            },
            (a, b) => a == b,
        };
        if !equal || sent.project != arrival.received.project {
            return Err(format!("arrival {index} is not message {index}"));
        }
    }
    Ok(())
}

async fn open(fixture: &dyn Fixture, max_in_flight: usize) -> Running {
    fixture.open(Limits { max_in_flight }).await
}

fn count_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What is sent arrives whole and in order, and an accepted message is seen as accepted exactly once.
///
/// # Errors
/// [`Failure`] if the endpoint does otherwise, as for every property here.
pub async fn accepted_messages_are_accepted_once(fixture: &dyn Fixture) -> Outcome {
    let name = "accepted_messages_are_accepted_once";
    let mut run = open(fixture, MANY).await;
    let sent = messages(0, count_u32(MANY));
    run.device.send(sent.clone()).await;
    let body = async {
        let arrivals = take(&run.endpoint, MANY).await?;
        same(&sent, &arrivals)?;
        for arrival in arrivals {
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
        }
        Ok(())
    };
    let (taken, seen): (Result<(), String>, _) = join(body, see(&mut *run.device, MANY)).await;
    taken.map_err(|e| fail(name, e))?;
    expect_all(&seen.map_err(|e| fail(name, e))?, Sight::Accepted).map_err(|e| fail(name, e))?;
    silence(&mut *run.device).await.map_err(|e| fail(name, format!("afterwards, {e}")))
}

/// As long as an ack is neither used nor dropped, its sender hears nothing.
///
/// # Errors
/// [`Failure`].
pub async fn nothing_is_answered_before_the_ack(fixture: &dyn Fixture) -> Outcome {
    let name = "nothing_is_answered_before_the_ack";
    let mut run = open(fixture, 8).await;
    run.device.send(messages(0, 3)).await;
    let (held, quiet) = join(take(&run.endpoint, 3), silence(&mut *run.device)).await;
    quiet.map_err(|e| fail(name, format!("before any ack, {e}")))?;
    let held = held.map_err(|e| fail(name, e))?;
    silence(&mut *run.device).await.map_err(|e| fail(name, format!("while the acks were held, {e}")))?;
    drop(held);
    Ok(())
}

/// A message that is refused for ever, in the midst of good ones, is told to its sender and stops nobody.
///
/// # Errors
/// [`Failure`].
pub async fn a_permanent_refusal_blocks_nobody(fixture: &dyn Fixture) -> Outcome {
    let name = "a_permanent_refusal_blocks_nobody";
    let permanent: Vec<_> = RefusalKind::ALL.into_iter().filter(|k| k.is_permanent()).collect();
    let count = permanent.len() * 2 + 1;
    let mut run = open(fixture, count).await;
    run.device.send(messages(0, count_u32(count))).await;
    let body = async {
        for (index, arrival) in take(&run.endpoint, count).await?.into_iter().enumerate() {
            let answer = match permanent.get(index / 2) {
                Some(kind) if index % 2 == 1 => refused(*kind),
                _ => accepted(&arrival.received),
            };
            arrival.ack.answer(answer);
        }
        Ok::<_, String>(())
    };
    let (taken, seen) = join(body, see(&mut *run.device, count)).await;
    taken.map_err(|e| fail(name, e))?;
    for Seen { index, sight } in seen.map_err(|e| fail(name, e))? {
        let poison = index % 2 == 1 && index / 2 < permanent.len();
        let right = match sight {
            Sight::Accepted => !poison || !fixture.shows_permanent_refusals(),
            Sight::Permanent => poison,
            Sight::Transient => false,
        };
        if !right {
            let was = if poison { "refused for ever" } else { "accepted" };
            return Err(fail(name, format!("message {index} was {was} but is seen as {sight:?}")));
        }
    }
    Ok(())
}

/// No transient refusal, of any kind, looks to the sender as if it might forget the message.
///
/// # Errors
/// [`Failure`].
pub async fn a_transient_refusal_is_never_an_acknowledgement(fixture: &dyn Fixture) -> Outcome {
    let name = "a_transient_refusal_is_never_an_acknowledgement";
    for kind in RefusalKind::ALL.into_iter().filter(|k| !k.is_permanent()) {
        let mut run = open(fixture, 8).await;
        run.device.send(messages(0, 3)).await;
        let body = async {
            for (index, arrival) in take(&run.endpoint, 3).await?.into_iter().enumerate() {
                let good = accepted(&arrival.received);
                arrival.ack.answer(if index == 1 { refused(kind) } else { good });
            }
            Ok::<_, String>(())
        };
        let (taken, seen) = join(body, see(&mut *run.device, 3)).await;
        taken.map_err(|e| fail(name, e))?;
        for Seen { index, sight } in seen.map_err(|e| fail(name, e))? {
            let right = match (index, sight) {
                (1, sight) => sight == Sight::Transient,
                (_, Sight::Transient) => fixture.transient_ends_connection(),
                (_, sight) => sight == Sight::Accepted,
            };
            if !right {
                return Err(fail(name, format!("{kind}: message {index} is seen as {sight:?}")));
            }
        }
    }
    Ok(())
}

/// An ack that is dropped, as in a panic, lets its sender try again.
///
/// # Errors
/// [`Failure`].
pub async fn a_dropped_ack_is_a_transient_refusal(fixture: &dyn Fixture) -> Outcome {
    let name = "a_dropped_ack_is_a_transient_refusal";
    let mut run = open(fixture, 8).await;
    run.device.send(messages(0, 1)).await;
    let body = async { take(&run.endpoint, 1).await.map(drop) };
    let (taken, seen) = join(body, see(&mut *run.device, 1)).await;
    taken.map_err(|e| fail(name, e))?;
    expect_all(&seen.map_err(|e| fail(name, e))?, Sight::Transient).map_err(|e| fail(name, e))
}

/// The endpoint hands out no more than its limit before something is answered, and the rest afterwards.
///
/// # Errors
/// [`Failure`].
pub async fn in_flight_is_bounded(fixture: &dyn Fixture) -> Outcome {
    let name = "in_flight_is_bounded";
    let (limit, count) = (4, 12);
    let mut run = open(fixture, limit).await;
    run.device.send(messages(0, count_u32(count))).await;
    let body = async {
        let mut held = take(&run.endpoint, limit).await?;
        let mut done = 0;
        while done + held.len() < count {
            if within(QUIET, run.endpoint.next()).await.is_some() {
                return Err(format!("more than {limit} arrivals were in flight"));
            }
            let arrival = held.remove(0);
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
            done += 1;
            held.extend(take(&run.endpoint, 1).await?);
        }
        for arrival in held {
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
        }
        Ok(())
    };
    let (taken, seen) = join(body, see(&mut *run.device, count)).await;
    taken.map_err(|e| fail(name, e))?;
    expect_all(&seen.map_err(|e| fail(name, e))?, Sight::Accepted).map_err(|e| fail(name, e))
}

/// One device's messages are in flight together up to the limit: a node that commits in batches is not held to
/// one message of each device per batch.
///
/// # Errors
/// [`Failure`].
pub async fn messages_are_pipelined(fixture: &dyn Fixture) -> Outcome {
    let name = "messages_are_pipelined";
    let mut run = open(fixture, 100).await;
    run.device.send(messages(0, 100)).await;
    let body = async {
        for arrival in take(&run.endpoint, 100).await? {
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
        }
        Ok::<_, String>(())
    };
    let (taken, seen) = join(body, see(&mut *run.device, 100)).await;
    taken.map_err(|e| fail(name, e))?;
    expect_all(&seen.map_err(|e| fail(name, e))?, Sight::Accepted).map_err(|e| fail(name, e))
}

/// Acks complete in any order; where the protocol demands the order of the messages, the device sees that.
///
/// # Errors
/// [`Failure`].
pub async fn answers_keep_the_order_of_the_protocol(fixture: &dyn Fixture) -> Outcome {
    let name = "answers_keep_the_order_of_the_protocol";
    let mut run = open(fixture, MANY).await;
    run.device.send(messages(0, count_u32(MANY))).await;
    let body = async {
        let mut arrivals = take(&run.endpoint, MANY).await?;
        // Backwards by threes: neither the order of arrival nor its reverse.
        while !arrivals.is_empty() {
            let place = arrivals.len().saturating_sub(3);
            let arrival = arrivals.remove(place);
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
            // The device looks after each answer.
            pause().await;
        }
        Ok::<_, String>(())
    };
    let (taken, seen) = join(body, see(&mut *run.device, MANY)).await;
    taken.map_err(|e| fail(name, e))?;
    let seen = seen.map_err(|e| fail(name, e))?;
    expect_all(&seen, Sight::Accepted).map_err(|e| fail(name, e))?;
    let order: Vec<usize> = seen.iter().map(|s| s.index).collect();
    if fixture.answers_in_order() && !order.is_sorted() {
        return Err(fail(name, format!("the device saw the order {order:?}")));
    }
    Ok(())
}

/// Dropping a call of `next` loses no arrival.
///
/// # Errors
/// [`Failure`].
pub async fn next_may_be_cancelled(fixture: &dyn Fixture) -> Outcome {
    let name = "next_may_be_cancelled";
    let mut run = open(fixture, MANY).await;
    let sent = messages(0, count_u32(MANY));
    // One that waits when the first message comes, and many that are dropped at once.
    for _ in 0..3 {
        let _ = within(std::time::Duration::from_millis(5), run.endpoint.next()).await;
    }
    run.device.send(sent.clone()).await;
    let body = async {
        let mut arrivals = Vec::new();
        while arrivals.len() < MANY {
            let mut dropped = Box::pin(run.endpoint.next());
            let polled = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await;
            if let Poll::Ready(Some(arrival)) = polled {
                arrivals.push(arrival);
                continue;
            }
            drop(dropped);
            match within(QUIET, run.endpoint.next()).await {
                Some(Some(arrival)) => arrivals.push(arrival),
                Some(None) => return Err("next() ended".to_owned()),
                None => return Err(format!("{} arrivals were lost", MANY - arrivals.len())),
            }
        }
        same(&sent, &arrivals)?;
        for arrival in arrivals {
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
        }
        Ok(())
    };
    let (taken, seen) = join(body, see(&mut *run.device, MANY)).await;
    taken.map_err(|e| fail(name, e))?;
    seen.map(drop).map_err(|e| fail(name, e))
}

/// Stopping the intake lets what is in flight end; closing refuses the rest, so every message has an answer, and
/// none is seen as accepted that was not.
///
/// # Errors
/// [`Failure`].
pub async fn stopping_answers_or_refuses_everything(fixture: &dyn Fixture) -> Outcome {
    let name = "stopping_answers_or_refuses_everything";
    let (limit, count) = (8, 12);
    let mut run = open(fixture, limit).await;
    run.device.send(messages(0, count_u32(count))).await;
    let body = async {
        let mut held = take(&run.endpoint, limit).await?;
        run.endpoint.stop_intake().await;
        run.endpoint.stop_intake().await;
        let unanswered = held.split_off(5);
        for arrival in held {
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
        }
        let closing = run.endpoint.close();
        match within(PATIENCE, closing).await {
            None => return Err("close() did not return".to_owned()),
            Some(Err(e)) => return Err(format!("close() failed: {e}")),
            Some(Ok(())) => {}
        }
        // Too late, and harmless.
        for arrival in unanswered {
            let answer = accepted(&arrival.received);
            arrival.ack.answer(answer);
        }
        for _ in 0..=count {
            match within(PATIENCE, run.endpoint.next()).await {
                Some(None) => return Ok(()),
                Some(Some(arrival)) => drop(arrival),
                None => break,
            }
        }
        Err("next() did not end after close()".to_owned())
    };
    let (stopped, seen) = join(body, see(&mut *run.device, count)).await;
    stopped.map_err(|e| fail(name, e))?;
    for Seen { index, sight } in seen.map_err(|e| fail(name, e))? {
        let right = if index < 5 { Sight::Accepted } else { Sight::Transient };
        if sight != right {
            return Err(fail(name, format!("message {index} is seen as {sight:?} instead of {right:?}")));
        }
    }
    Ok(())
}

/// `close` may be called again, and at once from several tasks; waiting calls of `next` end.
///
/// # Errors
/// [`Failure`].
pub async fn closing_twice_is_closing_once(fixture: &dyn Fixture) -> Outcome {
    let name = "closing_twice_is_closing_once";
    let run = open(fixture, 4).await;
    let calls = async {
        let waiting = run.endpoint.next();
        let closing = join_all([run.endpoint.close(), run.endpoint.close()]);
        let (next, closed) = join(waiting, closing).await;
        (next.is_none(), closed.into_iter().all(|c| c.is_ok()))
    };
    match within(PATIENCE, calls).await {
        None => return Err(fail(name, "close() or a waiting next() did not return")),
        Some((false, _)) => return Err(fail(name, "an arrival came out of nothing")),
        Some((_, false)) => return Err(fail(name, "close() failed")),
        Some((true, true)) => {}
    }
    match within(PATIENCE, run.endpoint.close()).await {
        Some(Ok(())) => Ok(()),
        _ => Err(fail(name, "close() after close() failed")),
    }
}
