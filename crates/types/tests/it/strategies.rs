//! Arbitrary values of every type that is encoded.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use w3bstream_types::merkle::Step;
use w3bstream_types::receipt::{OrderingLink, OutputLink};
use w3bstream_types::{
    AckMode, Address, Algorithm, Applet, Attestation, BatchRule, Block, BlockHeader, BlockRules, Canonical,
    Certificate, CertifiedBlock, ChainRule, ContractAnswer, ContractCall, ContractRead, Control, ControlTx,
    CronTrigger, DeviceRegistration, Did, Digest, Draft, Entry, Envelope, EventRecord, Form, Genesis,
    GuestLimits, HeightTrigger, Jws, LogTrigger, MAX_PAYLOAD_BYTES, MAX_SESSION_SECONDS, Manifest, Member,
    MessageHeader, MessageId, Missed, Output, OutputKind, Partition, Place, ProjectId, ProofRule, PublicKey,
    Record, ResultRecord, Route, SecretKey, SentTrigger, Sequence, SequenceWindow, SessionClaims,
    SessionMessage, SessionToken, Settlement, Statement, Timestamp, TokenMessage, TokenRegistration, Topic,
    TransactionRequest, TransactionTrigger, Transcript, Trigger, TriggerHeader, TriggerMessage, TriggerOn,
    Word,
};

pub(crate) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

/// A name of any of the kinds that share one alphabet.
pub(crate) fn label<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T>
{
    "[a-z0-9-]{1,63}".prop_map(|s| s.parse().unwrap())
}

pub(crate) fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::EdDSA), Just(Algorithm::ES256), Just(Algorithm::ES256K)]
}

pub(crate) fn secret() -> impl Strategy<Value = SecretKey> {
    // The first byte keeps the number below the order of both ECDSA curves.
    (algorithm(), any::<[u8; 31]>()).prop_map(|(algorithm, tail)| {
        let mut seed = [1; 32];
        seed[1..].copy_from_slice(&tail);
        SecretKey::from_bytes(algorithm, &seed).unwrap()
    })
}

fn public() -> impl Strategy<Value = PublicKey> {
    secret().prop_map(|k| k.public())
}

pub(crate) fn did() -> impl Strategy<Value = Did> {
    prop_oneof![
        public().prop_map(|k| Did::key(&k)),
        public().prop_map(|k| Did::jwk(&k)),
        "[a-z]{1,20}(:[a-z0-9._-]{1,10}){0,3}".prop_map(|s| format!("did:web:{s}").parse().unwrap()),
    ]
}

pub(crate) fn signature() -> impl Strategy<Value = [u8; 64]> {
    any::<([u8; 32], [u8; 32])>().prop_map(|(a, b)| [a, b].concat().try_into().unwrap())
}

pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    (digest(), did(), label(), any::<u64>(), any::<u64>(), vec(any::<u8>(), 0..300)).prop_map(
        |(audience, did, event_type, sequence, time, payload)| Draft {
            audience: ProjectId(audience),
            key: did.default_key_id(),
            event_type,
            sequence: Sequence::from_u64(sequence),
            time: Timestamp(time),
            payload,
        },
    )
}

pub(crate) fn header() -> impl Strategy<Value = MessageHeader> {
    envelope().prop_map(|e| e.header().clone())
}

pub(crate) fn envelope() -> impl Strategy<Value = Envelope> {
    (draft(), any::<[u8; 16]>(), signature()).prop_map(|(d, salt, sig)| Envelope::new(d, salt, sig))
}

pub(crate) fn jws() -> impl Strategy<Value = Jws> {
    (draft(), secret()).prop_map(|(d, key)| Jws::parse(&d.sign_jws(&key)).unwrap())
}

pub(crate) fn token() -> impl Strategy<Value = TokenMessage> {
    let ids = (digest(), label(), "[!-~]{1,128}", label());
    (ids, any::<u64>(), vec(any::<u8>(), 0..100), digest()).prop_map(
        |((project, publisher, event_id, event_type), time, payload, token_hash)| TokenMessage {
            project: ProjectId(project),
            publisher,
            event_id,
            event_type,
            time: Timestamp(time),
            payload,
            token_hash,
        },
    )
}

pub(crate) fn session_message() -> impl Strategy<Value = SessionMessage> {
    let ids = (digest(), did(), "[!-~]{1,128}", label());
    let session = (secret(), 0..1_u64 << 40, 1..=MAX_SESSION_SECONDS, "[!-~]{1,128}");
    (ids, any::<u64>(), vec(any::<u8>(), 0..100), session).prop_map(
        |((project, device, event_id, event_type), time, payload, (node, issued, life, id))| {
            let claims = SessionClaims {
                audience: ProjectId(project),
                device: device.clone(),
                node: Did::key(&node.public()),
                issued,
                expires: issued + life,
                id,
            };
            let input = claims.signing_input().unwrap();
            let token = SessionToken::assemble(&input, &node.sign(input.as_bytes())).unwrap();
            let (project, time) = (ProjectId(project), Timestamp(time));
            SessionMessage { project, device, event_id, event_type, time, payload, token }
        },
    )
}

pub(crate) fn trigger_message() -> impl Strategy<Value = TriggerMessage> {
    let ids = (digest(), label(), "[!-~]{1,128}", label());
    (ids, any::<u64>(), vec(any::<u8>(), 0..100)).prop_map(
        |((project, trigger, event_id, event_type), time, payload)| TriggerMessage {
            project: ProjectId(project),
            trigger,
            event_id,
            event_type,
            time: Timestamp(time),
            payload,
        },
    )
}

pub(crate) fn trigger_header() -> impl Strategy<Value = TriggerHeader> {
    trigger_message().prop_map(|m| m.header())
}

pub(crate) fn trigger() -> impl Strategy<Value = Trigger> {
    (label(), label(), trigger_on()).prop_map(|(name, event_type, on)| Trigger { name, event_type, on })
}

fn trigger_on() -> impl Strategy<Value = TriggerOn> {
    prop_oneof![
        log_trigger().prop_map(TriggerOn::Log),
        height_trigger().prop_map(TriggerOn::Height),
        transaction_trigger().prop_map(TriggerOn::Transaction),
        cron_trigger().prop_map(TriggerOn::Cron),
        Just(TriggerOn::Sent(SentTrigger {})),
    ]
}

pub(crate) fn log_trigger() -> impl Strategy<Value = LogTrigger> {
    let topic = option::of(any::<[u8; 32]>()).prop_map(|t| Topic(t.map(Word)));
    let event = option::of(Just("Transfer(address,uint256)".parse().unwrap()));
    let blocks = (option::of(0..100_u64), option::of(100..200_u64), 1..100_u32);
    (1..9_u64, any::<[u8; 20]>(), event, vec(topic, 0..4), blocks).prop_map(
        |(chain_id, contract, event, topics, (start_block, end_block, confirmations))| LogTrigger {
            chain_id,
            contract: Address::from_bytes(contract),
            event,
            topics,
            start_block,
            end_block,
            confirmations,
        },
    )
}

pub(crate) fn chain_rule() -> impl Strategy<Value = ChainRule> {
    (1..9_u64, any::<bool>(), 1..100_u32).prop_map(|(chain_id, read, confirmations)| ChainRule {
        chain_id,
        read,
        send: !read,
        confirmations,
        operators: vec![],
    })
}

pub(crate) fn contract_read() -> impl Strategy<Value = ContractRead> {
    let call = (1..9_u64, any::<[u8; 20]>(), vec(any::<u8>(), 0..9));
    let call =
        call.prop_map(|(chain_id, to, data)| ContractCall { chain_id, to: Address::from_bytes(to), data });
    let answer = (any::<bool>(), vec(any::<u8>(), 0..40)).prop_map(|(returned, data)| match returned {
        true => ContractAnswer::Returned(data),
        false => ContractAnswer::Reverted(data),
    });
    let read = |(call, block, answer)| ContractRead { call, block: Word(block), answer };
    (call, any::<[u8; 32]>(), answer).prop_map(read)
}

pub(crate) fn transcript() -> impl Strategy<Value = Transcript> {
    vec(contract_read(), 0..5).prop_map(Transcript::new)
}

pub(crate) fn request() -> impl Strategy<Value = TransactionRequest> {
    (digest(), option::of(label()), any::<u128>(), vec(any::<u8>(), 0..40))
        .prop_map(|(id, operator, value, data)| TransactionRequest { id, operator, value, data })
}

pub(crate) fn batch_rule() -> impl Strategy<Value = BatchRule> {
    (1..9_u32, any::<u64>()).prop_map(|(count, max_delay_ms)| BatchRule { count, max_delay_ms })
}

pub(crate) fn height_trigger() -> impl Strategy<Value = HeightTrigger> {
    (1..9_u64, any::<u64>(), option::of(1..9_u64), 1..100_u32).prop_map(
        |(chain_id, height, every, confirmations)| HeightTrigger { chain_id, height, every, confirmations },
    )
}

pub(crate) fn transaction_trigger() -> impl Strategy<Value = TransactionTrigger> {
    (1..9_u64, any::<[u8; 32]>(), 1..100_u32).prop_map(|(chain_id, hash, confirmations)| TransactionTrigger {
        chain_id,
        hash: Word(hash),
        confirmations,
    })
}

pub(crate) fn cron_trigger() -> impl Strategy<Value = CronTrigger> {
    let missed = prop_oneof![Just(Missed::Last), Just(Missed::All), Just(Missed::None)];
    (".{1,20}", missed).prop_map(|(schedule, missed)| CronTrigger { schedule, missed })
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        envelope().prop_map(Form::Envelope),
        jws().prop_map(Form::Jws),
        token().prop_map(Form::Token),
        trigger_message().prop_map(Form::Trigger),
        session_message().prop_map(Form::Session),
    ]
    .prop_map(Record::new)
}

pub(crate) fn window() -> impl Strategy<Value = SequenceWindow> {
    let near = (0..3u32, 0..9000u32).prop_map(|(e, c)| Sequence::new(e, c));
    vec(prop_oneof![9 => near, 1 => any::<u64>().prop_map(Sequence::from_u64)], 0..60).prop_map(|all| {
        let mut window = SequenceWindow::default();
        for sequence in all {
            window.accept(sequence);
        }
        window
    })
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        digest().prop_map(|d| Entry::Message(MessageId(d))),
        digest().prop_map(Entry::Control),
        digest().prop_map(Entry::Transcript)
    ]
}

pub(crate) fn block() -> impl Strategy<Value = Block> {
    let place = (digest(), any::<u64>(), any::<u64>(), digest(), any::<u64>(), any::<u32>());
    (place, vec(entry(), 0..12)).prop_map(|((genesis, epoch, height, parent, time, proposer), entries)| {
        let place = Place { genesis, epoch, height, parent, time: Timestamp(time), proposer };
        Block::new(place, entries)
    })
}

pub(crate) fn block_header() -> impl Strategy<Value = BlockHeader> {
    block().prop_map(|b| b.header().clone())
}

pub(crate) fn certificate() -> impl Strategy<Value = Certificate> {
    (any::<u64>(), any::<u64>(), digest(), vec((any::<u32>(), signature()), 0..5))
        .prop_map(|(epoch, height, block, signatures)| Certificate { epoch, height, block, signatures })
}

pub(crate) fn certified_block() -> impl Strategy<Value = CertifiedBlock> {
    (block(), certificate()).prop_map(|(block, certificate)| CertifiedBlock { block, certificate })
}

pub(crate) fn statement() -> impl Strategy<Value = Statement> {
    let digests = (digest(), digest(), digest(), digest(), digest(), digest());
    (digests, any::<u64>(), any::<u64>()).prop_map(
        |((subnet, genesis, block, manifest, state_root, outputs_root), epoch, height)| Statement {
            subnet: ProjectId(subnet),
            genesis,
            epoch,
            height,
            block,
            manifest,
            state_root,
            outputs_root,
        },
    )
}

pub(crate) fn attestation() -> impl Strategy<Value = Attestation> {
    let signature =
        (signature(), any::<u8>()).prop_map(|(rs, v)| [&rs[..], &[v]].concat().try_into().unwrap());
    (statement(), vec((any::<u32>(), signature), 0..5))
        .prop_map(|(statement, signatures)| Attestation { statement, signatures })
}

pub(crate) fn member() -> impl Strategy<Value = Member> {
    (did(), public(), public(), signature(), signature()).prop_map(
        |(did, consensus, attestation, by_consensus, by_attestation)| Member {
            did,
            consensus,
            attestation,
            by_consensus,
            by_attestation,
        },
    )
}

pub(crate) fn genesis() -> impl Strategy<Value = Genesis> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    (digest(), ".{0,20}", numbers, vec(member(), 0..4)).prop_map(
        |(project, backend, (abi_version, epoch, created), members)| Genesis {
            project: ProjectId(project),
            backend,
            abi_version,
            epoch,
            created: Timestamp(created),
            members,
        },
    )
}

pub(crate) fn limits() -> impl Strategy<Value = GuestLimits> {
    any::<[u64; 12]>().prop_map(|v| GuestLimits {
        gas: v[0],
        memory_bytes: v[1],
        table_elements: v[2],
        stack_slots: v[3],
        log_bytes: v[4],
        output_bytes: v[5],
        kv_bytes: v[6],
        host_calls: v[7],
        sql_bytes: v[8],
        events: v[9],
        event_bytes: v[10],
        event_depth: v[11],
    })
}

pub(crate) fn route() -> impl Strategy<Value = Route> {
    (label(), "[a-z_]{1,30}").prop_map(|(event_type, handler)| Route { event_type, handler })
}

pub(crate) fn applet() -> impl Strategy<Value = Applet> {
    let partition = prop_oneof![Just(Partition::None), Just(Partition::Device)];
    let fields = (label(), digest(), vec(route(), 1..4), limits(), partition);
    fields.prop_map(|(name, program, mut routes, limits, partition)| {
        routes.sort_by(|a, b| (&a.event_type, &a.handler).cmp(&(&b.event_type, &b.handler)));
        routes.dedup();
        Applet { name, program, routes, limits, partition }
    })
}

pub(crate) fn settlement() -> impl Strategy<Value = Settlement> {
    let kinds = prop_oneof![Just("bytes32"), Just("address"), Just("bool"), Just("uint8"), Just("int256")];
    let rule = ("[a-z]{1,9}", digest(), digest(), "[a-z/]{1,9}");
    let addresses = any::<([u8; 20], [u8; 20])>();
    (label(), 1..=u64::MAX, addresses, vec(kinds, 1..5), option::of(rule)).prop_map(
        |(name, chain_id, (executor, contract), kinds, rule)| {
            let field = |(i, kind): (usize, &&str)| format!("{kind} f{i}").parse().unwrap();
            let proof = rule.map(|(system, witness, key, private)| ProofRule {
                system,
                witness,
                key,
                private,
                batch: None,
            });
            let (executor, contract) = (Address::from_bytes(executor), Address::from_bytes(contract));
            let fields = kinds.iter().enumerate().map(field).collect();
            Settlement { name, chain_id, executor, contract, fields, proof }
        },
    )
}

pub(crate) fn manifest() -> impl Strategy<Value = Manifest> {
    let ack = prop_oneof![Just(AckMode::Durable), Just(AckMode::Committed), Just(AckMode::Executed)];
    let rules = (any::<[bool; 2]>(), 1..=65_536u32, any::<u32>(), 0..=MAX_PAYLOAD_BYTES as u64);
    let env = proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..4);
    let lists =
        (vec(applet(), 0..3), option::of(settlement()), option::of(chain_rule()), vec(trigger(), 0..2));
    (label(), did(), any::<u64>(), ack, rules, env, lists).prop_map(
        |(
            name,
            owner,
            version,
            ack,
            ([allow_tokens, allow_sessions], max_entries, max_delay_ms, max),
            env,
            (mut applets, settlement, chains, mut triggers),
        )| {
            applets.sort_by(|a, b| a.name.cmp(&b.name));
            applets.dedup_by(|a, b| a.name == b.name);
            triggers.dedup_by(|a, b| a.name == b.name);
            Manifest {
                name,
                owner,
                version,
                ack,
                max_payload_bytes: max,
                allow_tokens,
                allow_sessions,
                blocks: BlockRules { max_entries, max_delay_ms },
                env: env.into_iter().collect(),
                applets,
                settlements: settlement.into_iter().collect(),
                chains: chains.into_iter().collect(),
                triggers,
                database: None,
            }
        },
    )
}

pub(crate) fn device() -> impl Strategy<Value = DeviceRegistration> {
    (did(), public(), vec(label(), 0..4)).prop_map(|(device, key, event_types)| {
        let key = device.embedded_key().unwrap_or(key);
        DeviceRegistration { device, key, event_types }
    })
}

pub(crate) fn token_registration() -> impl Strategy<Value = TokenRegistration> {
    (label(), digest(), vec(label(), 0..4)).prop_map(|(publisher, token_hash, event_types)| {
        TokenRegistration { publisher, token_hash, event_types }
    })
}

pub(crate) fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        manifest().prop_map(|m| Control::Deploy(Box::new(m))),
        device().prop_map(Control::RegisterDevice),
        did().prop_map(Control::RevokeDevice),
        token_registration().prop_map(Control::RegisterToken),
        label().prop_map(Control::RevokeToken),
        Just(Control::Remove),
    ]
}

pub(crate) fn control_tx() -> impl Strategy<Value = ControlTx> {
    (digest(), any::<u64>(), control(), signature()).prop_map(|(project, nonce, change, signature)| {
        ControlTx { project: ProjectId(project), nonce, change, signature }
    })
}

pub(crate) fn result_record() -> impl Strategy<Value = ResultRecord> {
    let what = (digest(), label(), ".{0,20}", digest(), digest());
    let end = (option::of(".{0,20}"), any::<[u64; 4]>(), option::of(digest()));
    (what, any::<i32>(), end).prop_map(|(what, code, (error, [gas, call, calls, outputs], event))| {
        let (message, applet, handler, program, instrumented) = what;
        ResultRecord {
            message: MessageId(message),
            applet,
            handler,
            program,
            instrumented,
            code,
            error,
            gas,
            call,
            calls,
            outputs,
            event,
        }
    })
}

pub(crate) fn event_record() -> impl Strategy<Value = EventRecord> {
    (digest(), any::<[u64; 2]>(), digest()).prop_map(|(id, [depth, calls], payload)| EventRecord {
        id,
        depth,
        calls,
        payload,
    })
}

pub(crate) fn output() -> impl Strategy<Value = Output> {
    let plain = prop_oneof![
        Just(OutputKind::Rejected),
        Just(OutputKind::Control),
        Just(OutputKind::Mqtt),
        Just(OutputKind::Metric),
        Just(OutputKind::Settlement),
        Just(OutputKind::Answer),
        Just(OutputKind::Event),
    ];
    let target = || vec(any::<u8>(), 0..80);
    prop_oneof![
        (plain, any::<u64>(), target(), vec(any::<u8>(), 0..100))
            .prop_map(|(kind, chain_id, target, data)| Output { kind, chain_id, target, data }),
        (any::<u64>(), target(), result_record()).prop_map(|(chain_id, target, record)| Output {
            kind: OutputKind::Result,
            chain_id,
            target,
            data: record.to_canonical(),
        }),
    ]
}

pub(crate) fn ordering_link() -> impl Strategy<Value = OrderingLink> {
    (block_header(), any::<u64>(), vec(digest(), 0..5), certificate())
        .prop_map(|(header, index, path, certificate)| OrderingLink { header, index, path, certificate })
}

pub(crate) fn output_link() -> impl Strategy<Value = OutputLink> {
    let step = prop_oneof![digest().prop_map(Step::Left), digest().prop_map(Step::Right)];
    (any::<u64>(), output(), vec(step, 0..5)).prop_map(|(index, output, path)| OutputLink {
        index,
        output,
        path,
    })
}
