//! `POST /v1/projects/{project}/events:batch`: many messages in one body, one per line, one result per line.
//!
//! A task of its own reads lines, hands them over and writes their results, in the order of the lines. It stops reading
//! while too many of them wait for the node or too many results for the client: memory does not grow with the body.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Body as _;
use tokio::sync::oneshot::Receiver;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use w3bstream_endpoint::Answer;
use w3bstream_limits::{Full, Place};
use w3bstream_types::{Accepted, ProjectName, RefusalKind, Submission};

use crate::coding::Coding;
use crate::ingest::{Hold, essence, malformed, project_of, single, stopping, token, told_in_time};
use crate::item::{parse, result};
use crate::lines::{Lines, Next};
use crate::outbox::{Gone, Outbox, outbox};
use crate::problem::{Problem, ProblemKind};
use crate::serve::{MayEndEarly, Peer};
use crate::server::Shared;

/// The media type of bodies and answers.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Writing a result takes no longer, unless the client does not read.
const SOON: Duration = Duration::from_millis(100);

/// The route's handler.
pub(crate) async fn post_batch(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let unread = !request.body().is_end_stream();
    let head = match judge_head(&shared, path, &request) {
        Ok(head) => head,
        Err(problem) => return shared.refuse(problem, unread),
    };
    let mut lines = match Lines::new(request.into_body(), head.coding, &shared.limits) {
        Ok(lines) => lines,
        Err(problem) => return shared.refuse(problem, unread),
    };
    let begun = tokio::select! {
        biased;
        begun = lines.begin() => begun,
        () = shared.intake.cancelled() => Err(stopping()),
    };
    if let Err(problem) = begun {
        return shared.refuse(problem, true);
    }
    let (out, body) = outbox(shared.limits.batch_answer_bytes);
    let batch = Batch {
        intake: Intake { shared: Arc::clone(&shared), lines, token: head.token, number: 0, held: None },
        shared: Arc::clone(&shared),
        project: head.project,
        waiting: VecDeque::new(),
        out,
        _place: head.place,
    };
    shared.batch_tasks.spawn("http-batch", batch.run());
    let mut response = ([(CONTENT_TYPE, HeaderValue::from_static(NDJSON))], Body::new(body)).into_response();
    response.extensions_mut().insert(MayEndEarly);
    response
}

/// What a batch's head says.
struct Head {
    project: ProjectName,
    token: Option<String>,
    coding: Option<Coding>,
    place: Place,
}

fn judge_head(
    shared: &Shared,
    path: Result<Path<String>, PathRejection>,
    request: &Request,
) -> Result<Head, Problem> {
    if shared.intake_stopped() {
        return Err(stopping());
    }
    let project = project_of(path)?;
    if request.uri().query().is_some_and(|q| !q.is_empty()) {
        return Err(malformed("a batch takes no query: type and time stand in each line"));
    }
    let headers = request.headers();
    if essence(headers)?.as_deref() != Some(NDJSON) {
        let detail = format!("a batch is {NDJSON}: one message per line");
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let coding = Coding::of(single(headers, &CONTENT_ENCODING)?)?;
    let token = headers.contains_key(AUTHORIZATION).then(|| token(headers)).transpose()?;
    let limits = &shared.limits;
    if request.body().size_hint().lower() > limits.batch_bytes as u64 {
        let detail = format!("a batch has at most {} bytes; send several", limits.batch_bytes);
        return Err(Problem::refusal(RefusalKind::TooLarge, detail));
    }
    let peer = request.extensions().get::<Peer>().map(|p| p.0);
    let place = shared.batches.admit_from(peer).map_err(|full| {
        let whose = if full == Full::Total { "the node reads" } else { "your address sends" };
        let detail = format!("{whose} as many batches as the node allows");
        Problem::refusal(RefusalKind::Overloaded, detail)
    })?;
    Ok(Head { project, token, coding, place })
}

/// A line whose result is not written yet.
enum Waiting {
    /// The result is known.
    Known(Vec<u8>),
    /// The node has it.
    Asked { number: usize, since: Instant, told: Receiver<Answer> },
}

struct Batch {
    intake: Intake,
    shared: Arc<Shared>,
    project: ProjectName,
    waiting: VecDeque<Waiting>,
    out: Outbox,
    _place: Place,
}

/// What the batch has next for the node.
enum Step {
    Message { number: usize, submission: Box<Submission>, hold: Hold },
    Refused { number: usize, problem: Problem },
    Stop { number: usize, problem: Problem },
    End,
}

impl Batch {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            biased;
            () = shared.killed.cancelled() => {}
            done = self.work() => if done.is_ok() {
                self.out.finish();
            },
        }
    }

    async fn work(&mut self) -> Result<(), Gone> {
        let deadline = Instant::now() + self.shared.limits.batch_timeout;
        let mut reading = true;
        while reading || !self.waiting.is_empty() {
            if !reading || self.waiting.len() >= self.shared.limits.batch_in_flight {
                // The client is not to blame for a node that takes its time.
                self.intake.lines.rested();
                self.write_front().await?;
                continue;
            }
            let step = tokio::select! {
                biased;
                text = front(&self.shared, &mut self.waiting), if !self.waiting.is_empty() => {
                    self.write(text).await?;
                    continue;
                }
                step = self.intake.next() => step,
                () = sleep_until(deadline) => Step::Stop {
                    number: self.intake.number + 1,
                    problem: Problem::new(ProblemKind::RequestTimeout, format!(
                        "the batch did not end within {} s; the next one may follow",
                        self.shared.limits.batch_timeout.as_secs()
                    )),
                },
            };
            reading = self.take(step);
        }
        Ok(())
    }

    /// Deals with what was read; false if that was the last.
    fn take(&mut self, step: Step) -> bool {
        let (number, problem, stopped) = match step {
            Step::End => return false,
            Step::Message { number, submission, hold } => {
                match self.shared.submit(self.project.clone(), *submission, hold) {
                    Ok(told) => {
                        self.waiting.push_back(Waiting::Asked { number, since: Instant::now(), told });
                        return true;
                    }
                    Err(problem) => (number, problem, false),
                }
            }
            Step::Refused { number, problem } => (number, problem, false),
            Step::Stop { number, problem } => (number, problem, true),
        };
        self.shared.metrics.problem(problem.kind);
        self.waiting.push_back(Waiting::Known(result(number, &Err(problem), stopped)));
        !stopped
    }

    async fn write_front(&mut self) -> Result<(), Gone> {
        let text = front(&self.shared, &mut self.waiting).await;
        self.write(text).await
    }

    async fn write(&mut self, text: Vec<u8>) -> Result<(), Gone> {
        let start = Instant::now();
        // Without a reader nothing is kept for ever; what was handed over goes on without us.
        let pushed = timeout(self.shared.limits.write_timeout, self.out.push(&text)).await;
        if start.elapsed() > SOON {
            // Meanwhile we did not read.
            self.intake.lines.rested();
        }
        pushed.unwrap_or(Err(Gone))
    }
}

/// The oldest result, once it is known, which takes it off the queue. Not to be called without one.
///
/// # Cancel safety
/// Dropping the future loses nothing: until the answer is there the line stays where it is.
async fn front(shared: &Shared, waiting: &mut VecDeque<Waiting>) -> Vec<u8> {
    let text = match waiting.front_mut() {
        None => Vec::new(),
        Some(Waiting::Known(text)) => std::mem::take(text),
        Some(Waiting::Asked { number, since, told }) => {
            let answer = told_in_time(shared, told, *since + shared.limits.ack_timeout).await;
            count(shared, *since, &answer);
            result(*number, &answer, false)
        }
    };
    waiting.pop_front();
    text
}

fn count(shared: &Shared, since: Instant, answer: &Result<Accepted, Problem>) {
    shared.metrics.event_took(since.elapsed());
    match answer {
        Ok(accepted) => shared.metrics.accepted(accepted.duplicate),
        Err(problem) => shared.metrics.problem(problem.kind),
    }
}

/// Reads lines and finds a place for the message of each.
struct Intake {
    shared: Arc<Shared>,
    lines: Lines,
    token: Option<String>,
    /// Lines read.
    number: usize,
    held: Option<HeldLine>,
}

/// A message that waits for a place.
struct HeldLine {
    submission: Submission,
    bytes: usize,
    since: Instant,
}

impl Intake {
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Step {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            biased;
            () = shared.intake.cancelled() => {
                // A line that was read and has no place yet is the first that the node does not take.
                let number = if self.held.take().is_some() { self.number } else { self.number + 1 };
                Step::Stop { number, problem: stopping() }
            }
            step = self.read() => step,
        }
    }

    async fn read(&mut self) -> Step {
        loop {
            if let Some(step) = self.place().await {
                return step;
            }
            let next = self.lines.next().await;
            let number = self.number + 1;
            let limits = &self.shared.limits;
            let line = match next {
                Next::End => return Step::End,
                Next::Stop(problem) => return Step::Stop { number, problem },
                _ if number > limits.batch_lines => {
                    let detail =
                        format!("a batch has at most {} lines; send the rest in another", limits.batch_lines);
                    return Step::Stop { number, problem: Problem::refusal(RefusalKind::TooLarge, detail) };
                }
                Next::TooLong => {
                    self.number = number;
                    let detail = format!("a line has at most {} bytes", limits.batch_line_bytes);
                    return Step::Refused {
                        number,
                        problem: Problem::refusal(RefusalKind::TooLarge, detail),
                    };
                }
                Next::Line(line) => line,
            };
            self.number = number;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match parse(&line, self.token.as_deref()) {
                Err(problem) => return Step::Refused { number, problem },
                Ok(submission) => {
                    self.held = Some(HeldLine { submission, bytes: line.len(), since: Instant::now() });
                }
            }
        }
    }

    /// Waits for a place in flight and for memory, as long as for an answer: the client waits with us, since nothing
    /// more is read.
    async fn place(&mut self) -> Option<Step> {
        let held = self.held.as_ref()?;
        self.lines.rested();
        let shared = Arc::clone(&self.shared);
        let found = timeout_at(held.since + shared.limits.ack_timeout, async {
            let share = shared.budget.wait(held.bytes).await;
            let place = Arc::clone(&shared.in_flight).acquire_owned().await.ok();
            place.zip(Some(share))
        })
        .await;
        let held = self.held.take()?;
        let number = self.number;
        Some(match found {
            Ok(Some(hold)) => Step::Message { number, submission: Box::new(held.submission), hold },
            _ => {
                let detail = "as many messages as the node allows wait for their acknowledgement";
                Step::Refused { number, problem: Problem::refusal(RefusalKind::Overloaded, detail) }
            }
        })
    }
}
