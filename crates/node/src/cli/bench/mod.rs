//! `bench ingest`: messages of new devices against a running node, and the same against a rival.

mod count;
mod figures;
mod grpc;
mod http;
mod load;
mod mqtt;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand as ClapSubcommand, ValueEnum};
use w3bstream_types::ProjectName;

use super::{Where, print, print_value};
use crate::{Running, read_running};
use figures::Figures;
use load::{Device, Plan};

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Send messages of new devices and measure acknowledgements.
    Ingest(Box<Ingest>),
}

/// How the messages reach the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// MQTT 5.
    Mqtt,
    /// A POST for each message, HTTP/1.1.
    Http,
    /// A POST for as many messages as are in flight.
    HttpBatch,
    /// A call for each message.
    Grpc,
    /// A stream for each connection.
    GrpcStream,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Auth {
    /// A signature of its device, Ed25519.
    Signed,
    /// The token of one publisher. The project must allow tokens.
    Token,
    /// The JWT of its device's session. The project must allow sessions.
    Session,
}

/// What ends the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// Every message has its acknowledgement.
    Acknowledged,
    /// Every message was executed and its results are stored.
    Executed,
}

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    at: Where,
    /// The project. Its devices of this measurement stay registered.
    #[arg(long)]
    project: ProjectName,
    /// How the messages reach the node.
    #[arg(long, value_enum, default_value = "mqtt")]
    via: Via,
    /// MQTT's quality of service, 1 if not given. At 0 nothing is acknowledged: what arrived is counted where it arrived.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// What a message carries.
    #[arg(long, value_enum, default_value = "signed")]
    auth: Auth,
    /// Connections, each a device of its own.
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    connections: usize,
    /// Messages that a connection has under way at once: 10 if not given, with http always 1, with http-batch those of
    /// one request, 100 if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: Option<u16>,
    /// Messages of each connection.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// Send no more after so many seconds.
    #[arg(long, value_parser = positive)]
    seconds: Option<f64>,
    /// Messages of each connection before the clock runs.
    #[arg(long, default_value_t = 10)]
    warm_up: u32,
    /// Bytes of payload: a reading in JSON.
    #[arg(long, default_value_t = 256, value_parser = payload_bytes)]
    bytes: usize,
    /// Where to keep the devices' keys; they are made if not there.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Messages a second over all connections; without it, as fast as they are acknowledged.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// What ends the measurement.
    #[arg(long, value_enum, default_value = "acknowledged")]
    until: Until,
    /// Then send the same bytes to this server, such as mqtt://127.0.0.1:1884, and give the ratio.
    #[arg(long)]
    rival: Option<String>,
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("must be above 0".into()) }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let n: usize = text.parse().map_err(|e| format!("{e}"))?;
    if n > 0 { Ok(n) } else { Err("must be above 0".into()) }
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let n: usize = text.parse().map_err(|e| format!("{e}"))?;
    let least = load::LEAST_PAYLOAD;
    if n >= least { Ok(n) } else { Err(format!("a reading has at least {least} bytes")) }
}

impl Ingest {
    fn plan(&self) -> anyhow::Result<Plan> {
        let Self { via, qos, in_flight, until, .. } = self;
        if qos.is_some() && *via != Via::Mqtt {
            bail!("--qos is of MQTT; leave it away or say --via mqtt");
        }
        if *via == Via::Http && in_flight.is_some_and(|n| n != 1) {
            bail!(
                "--via http has one request under way on a connection; leave --in-flight away or say --via http-batch"
            );
        }
        if *qos == Some(0) && *until == Until::Executed {
            bail!("at QoS 0 messages may be lost, so that not all are executed; say --qos 1");
        }
        let usual = match via {
            Via::Http => 1,
            Via::HttpBatch => 100,
            Via::Mqtt | Via::Grpc | Via::GrpcStream => 10,
        };
        Ok(Plan {
            project: self.project.clone(),
            via: *via,
            qos: qos.unwrap_or(1),
            auth: self.auth,
            in_flight: in_flight.unwrap_or(usual),
            warm_up: self.warm_up as usize,
            messages: self.messages as usize,
            bytes: self.bytes,
            every: self.rate.map(|r| Duration::from_secs_f64(self.connections as f64 / r)),
            most: self.seconds.map(Duration::from_secs_f64),
        })
    }
}

pub(crate) async fn run(command: Command, as_json: bool) -> anyhow::Result<()> {
    let Command::Ingest(args) = command;
    let plan = args.plan()?;
    let running = read_running(&args.at.paths())?;
    let url = url_of(&running, plan.via)?;
    let devices = load::prepare(&args, &plan, &running).await?;
    let ours = of_node(&args, &plan, (&url, &devices)).await.context("this node")?;
    let theirs = match &args.rival {
        Some(url) => Some(of_rival(&plan, url, &devices).await.with_context(|| format!("the rival {url}"))?),
        None => None,
    };
    report(&args, &plan, (&ours, theirs.as_ref()), as_json);
    Ok(())
}

fn url_of(running: &Running, via: Via) -> anyhow::Result<String> {
    match via {
        Via::Mqtt => running.mqtt.clone().context("the node has no MQTT broker"),
        Via::Http | Via::HttpBatch => Ok(running.http.clone()),
        Via::Grpc | Via::GrpcStream => running
            .grpc
            .clone()
            .context("the node has no gRPC endpoint; set grpc.enabled = true in node.toml"),
    }
}

async fn of_node(args: &Ingest, plan: &Plan, (url, devices): (&str, &[Device])) -> anyhow::Result<Figures> {
    let count = count::OfNode::begin(&args.at.admin()?, &plan.project).await?;
    let measured = load::measure(plan, url, devices).await?;
    let warm = (plan.warm_up * devices.len()) as u64;
    let sent = measured.sent() + warm;
    if args.until == Until::Executed {
        count.executed(sent).await?;
        return Ok(measured.ended_now());
    }
    let arrived = if plan.qos == 0 { Some(count.accepted(sent).await?.saturating_sub(warm)) } else { None };
    Ok(measured.figures(arrived))
}

async fn of_rival(plan: &Plan, url: &str, devices: &[Device]) -> anyhow::Result<Figures> {
    if plan.qos > 0 {
        return Ok(load::measure(plan, url, devices).await?.figures(None));
    }
    let mut count = count::OfBroker::begin(url).await?;
    let measured = load::measure(plan, url, devices).await?;
    let warm = (plan.warm_up * devices.len()) as u64;
    let arrived = count.arrived(measured.sent() + warm).await?;
    Ok(measured.figures(Some(arrived.saturating_sub(warm))))
}

fn report(args: &Ingest, plan: &Plan, (ours, theirs): (&Figures, Option<&Figures>), as_json: bool) {
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|v| v.get_name().to_owned());
    let (via, auth) = (name(plan.via.to_possible_value()), name(plan.auth.to_possible_value()));
    let ratio = theirs.map(|t| ours.per_second / t.per_second);
    if as_json {
        let mut value = ours.to_json();
        value["via"] = via.into();
        value["auth"] = auth.into();
        value["until"] = name(args.until.to_possible_value()).into();
        value["qos"] = (plan.via == Via::Mqtt).then_some(plan.qos).into();
        value["connections"] = args.connections.into();
        value["in_flight"] = plan.in_flight.into();
        value["bytes"] = args.bytes.into();
        if let (Some(theirs), Some(ratio)) = (theirs, ratio) {
            value["rival"] = theirs.to_json();
            value["ratio"] = ratio.into();
        }
        return print_value(&value);
    }
    print(format!(
        "{} messages ({}) of {} B over {}, {} connections × {}",
        ours.messages,
        auth.unwrap_or_default(),
        args.bytes,
        via.unwrap_or_default(),
        args.connections,
        plan.in_flight
    ));
    let verb = if args.until == Until::Executed { "executed" } else { "acknowledged" };
    print(ours.line(if plan.qos == 0 { "arrived" } else { verb }));
    if let (Some(theirs), Some(ratio)) = (theirs, ratio) {
        let verb = if plan.qos == 0 { "arrived" } else { "acknowledged" };
        print(format!("{}   (the rival: the same bytes)", theirs.line(verb)));
        print(format!("{ratio:.2} × the rival"));
    }
}

#[cfg(test)]
mod tests;
