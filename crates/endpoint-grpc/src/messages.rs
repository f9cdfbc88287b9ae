//! `w3bstream.v1.Messages`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};
use w3bstream_endpoint::{ErrorKind, FeedFilter, Heard, Listener, LiveChange, MessageLife, async_trait};
use w3bstream_types::{
    Malformed, MessageId, MessageSettlement, MessageState, ProofStep, RefusalKind, SettlementStep,
    StateChange,
};

use crate::problem::{Problem, ProblemKind};
use crate::proto;
use crate::proto::watch_response::Event;
use crate::server::{Shared, stopping};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Messages(pub(crate) Arc<Shared>);

type Changes = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send + 'static>>;

fn malformed(what: &str) -> impl Fn(Malformed) -> Problem {
    move |e| Problem::refusal(RefusalKind::Malformed, format!("{what}: {e}"))
}

/// `None` if nothing is asked for.
fn wanted<T: std::str::FromStr<Err = Malformed>>(what: &str, text: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(malformed(what)) }
}

async fn life(shared: &Shared, id: MessageId) -> Result<Option<MessageLife>, Problem> {
    shared.query.message(id).await.map_err(|e| {
        // The cause may tell of the node's inside: it goes to the log, at a level that clients cannot flood.
        tracing::debug!(error = %e, %id, "cannot answer a question for a message");
        let kind = match e.kind() {
            ErrorKind::Overloaded => ProblemKind::Refusal(RefusalKind::Overloaded),
            _ => ProblemKind::StateUnavailable,
        };
        Problem::new(kind, "the message's state cannot be read now")
    })
}

impl Shared {
    /// A watcher's place.
    pub(crate) fn watch(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let full = |_| Problem::refusal(RefusalKind::Overloaded, "as many watch as the node allows");
        Arc::clone(&self.watches).try_acquire_owned().map_err(full)
    }
}

impl Messages {
    async fn find(&self, text: &str) -> Result<proto::Message, Problem> {
        let id: MessageId = text.parse().map_err(malformed("message id"))?;
        let busy = |_| Problem::refusal(RefusalKind::Overloaded, "too many questions at once");
        let _place = self.0.queries.try_acquire().map_err(busy)?;
        let life = life(&self.0, id).await?.ok_or_else(|| {
            let detail =
                format!("no message {id} was accepted by this node, or its record is past retention");
            Problem::new(ProblemKind::UnknownMessage, detail)
        })?;
        Ok(proto::Message {
            id: id.to_string(),
            project: life.project.to_string(),
            states: life.states.into_iter().map(Into::into).collect(),
            settlements: life.settlements.into_iter().map(Into::into).collect(),
            settlement_count: life.settlement_count,
        })
    }

    fn watching(&self, request: &proto::WatchRequest) -> Result<Watching, Problem> {
        let bad = |why: &str| Problem::refusal(RefusalKind::Malformed, why);
        let filter = FeedFilter {
            project: wanted("project", &request.project)?,
            source: (!request.source.is_empty()).then(|| request.source.clone()),
            event_type: wanted("type", &request.r#type)?,
            id: wanted("message id", &request.id)?,
        };
        let id = filter.id;
        if id.is_some()
            && (filter.project.is_some() || filter.source.is_some() || filter.event_type.is_some())
        {
            return Err(bad("an id says it all; leave project, source and type away"));
        }
        if id.is_none() && !self.0.limits.watch_all {
            let why = "who comes from elsewhere watches a message whose id it knows; give the id";
            return Err(Problem::refusal(RefusalKind::NotAllowed, why));
        }
        if id.is_none() && request.until_final {
            return Err(bad("until_final needs an id"));
        }
        let place = self.0.watch()?;
        // Listens before it asks: what happens in between is heard.
        let listener = self.0.feed.listen(filter);
        Ok(Watching {
            shared: Arc::clone(&self.0),
            listener,
            id,
            until_final: request.until_final,
            ask: id.is_some(),
            told: Vec::new(),
            ready: VecDeque::new(),
            over: false,
            _place: place,
        })
    }
}

#[async_trait]
impl proto::messages_server::Messages for Messages {
    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::Message>, Status> {
        let found = self.find(&request.get_ref().id).await;
        found.map(Response::new).map_err(|problem| self.0.counted(problem).into())
    }

    type WatchStream = Changes;

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Result<Response<Changes>, Status> {
        let watching = self.watching(request.get_ref()).map_err(|problem| self.0.counted(problem))?;
        let changes = stream::unfold(watching, |mut watching| async {
            let next = watching.next().await?;
            Some((next, watching))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

/// One watcher.
struct Watching {
    shared: Arc<Shared>,
    listener: Listener,
    id: Option<MessageId>,
    until_final: bool,
    /// What has been must be asked for.
    ask: bool,
    /// With an id: the states that were told. A message reaches each at most once.
    told: Vec<MessageState>,
    /// What goes out next. At most one life of a message.
    ready: VecDeque<proto::WatchResponse>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<proto::WatchResponse, Status>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Some(Ok(next));
            }
            if self.over {
                return None;
            }
            let step = if std::mem::take(&mut self.ask) { self.catch_up().await } else { self.hear().await };
            if let Err(problem) = step {
                self.over = true;
                return Some(Err(self.shared.counted(problem).into()));
            }
        }
    }

    /// Asks what the message has reached.
    async fn catch_up(&mut self) -> Result<(), Problem> {
        let Some(id) = self.id else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        // Waits for its turn: as many wait as there are watchers, no more.
        let _place = shared.queries.acquire().await.map_err(|_| stopping())?;
        let Some(life) = life(&shared, id).await? else { return Ok(()) };
        for change in life.states {
            let project = life.project.to_string();
            self.tell(proto::Change { project, id: id.to_string(), ..Default::default() }, change);
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<(), Problem> {
        let heard = tokio::select! {
            biased;
            () = self.shared.closing.cancelled() => None,
            heard = self.listener.next() => heard,
        };
        match heard {
            // To a client the end of the stream must not look like the end of the story.
            None => return Err(stopping()),
            Some(Heard::Missed(_)) if self.id.is_some() => self.ask = true,
            Some(Heard::Missed(count)) => {
                self.ready.push_back(proto::WatchResponse { event: Some(Event::Missed(count)) });
            }
            Some(Heard::Change(live)) => {
                let LiveChange { project, id, source, event_type, change } = &*live;
                let head = proto::Change {
                    project: project.to_string(),
                    id: id.to_string(),
                    source: source.clone(),
                    r#type: event_type.to_string(),
                    change: None,
                };
                self.tell(head, change.clone());
            }
        }
        Ok(())
    }

    fn tell(&mut self, head: proto::Change, change: StateChange) {
        let state = change.state;
        if self.id.is_some() {
            if self.over || self.told.contains(&state) {
                return;
            }
            self.told.push(state);
            self.over = self.until_final && is_final(state);
        }
        let change = proto::Change { change: Some(change.into()), ..head };
        self.ready.push_back(proto::WatchResponse { event: Some(Event::Change(change)) });
    }
}

/// After this state no other comes.
const fn is_final(state: MessageState) -> bool {
    matches!(state, MessageState::Attested | MessageState::Rejected | MessageState::Conflicted)
}

impl From<StateChange> for proto::StateChange {
    fn from(change: StateChange) -> Self {
        let state = match change.state {
            MessageState::Stored => proto::MessageState::Stored,
            MessageState::Ordered => proto::MessageState::Ordered,
            MessageState::Executed => proto::MessageState::Executed,
            MessageState::Attested => proto::MessageState::Attested,
            MessageState::Rejected => proto::MessageState::Rejected,
            MessageState::Conflicted => proto::MessageState::Conflicted,
        };
        Self { state: state.into(), time: change.time.0, reason: change.reason }
    }
}

impl From<MessageSettlement> for proto::Settlement {
    fn from(settlement: MessageSettlement) -> Self {
        let state = match settlement.state {
            SettlementStep::Waiting => proto::SettlementStep::Waiting,
            SettlementStep::Proven => proto::SettlementStep::Proven,
            SettlementStep::Settled => proto::SettlementStep::Settled,
            SettlementStep::Elsewhere => proto::SettlementStep::Elsewhere,
        };
        let proof = match settlement.proof {
            ProofStep::None => proto::ProofStep::None,
            ProofStep::Waiting => proto::ProofStep::Waiting,
            ProofStep::Made => proto::ProofStep::Made,
        };
        Self {
            height: settlement.height,
            index: settlement.index,
            name: settlement.name,
            chain: settlement.chain,
            state: state.into(),
            proof: proof.into(),
            attempts: settlement.attempts,
            reason: settlement.reason,
            transaction: settlement.transaction.map(|t| proto::SettlingTransaction {
                hash: t.hash,
                block: t.block,
                gas: t.gas,
            }),
        }
    }
}
