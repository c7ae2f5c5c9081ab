//! The parts of each role.
//!
//! Owns which role is handed what. Guarantees that the roles of one process share their connections.

use std::time::Duration;

use nuncio_broker::Broker;
use nuncio_domain::SenderId;
use nuncio_producer::Producer;
use nuncio_router::RouterParts;
use nuncio_runtime::config::{self, Config};
use nuncio_runtime::{Clock, Dice, Lifecycle};
use nuncio_sender::{SenderParts, SenderSettings, SignatureHeaders};
use nuncio_store::{Directory, Recorder, StateReader, Store};
use nuncio_traces::Tracer;
use nuncio_web::{PageSettings, Rates, SignaturePrefix, WebParts};

use super::Role;
use crate::host;
use crate::wiring::{self, Services};

/// How long the API waits for the confirm of an event before it answers that it could not be accepted.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// What every role of the process shares.
pub(super) struct Parts<'a> {
    config: &'a Config,
    life: &'a Lifecycle,
    services: &'a Services,
    pub(super) store: Store,
    pub(super) broker: Broker,
    recorder: Recorder,
    clock: Clock,
    dice: Dice,
    tracer: Tracer,
    name: String,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        role: Role,
        config: &'a Config,
        life: &'a Lifecycle,
        services: &'a Services,
        broker: Broker,
        store: Store,
    ) -> anyhow::Result<Self> {
        let (clock, dice) = (Clock::system(), Dice::system());
        let name = host::member_name(&dice);
        Ok(Self {
            config,
            life,
            services,
            recorder: Recorder::start(store.clone(), &services.tracker, services.stop.clone()),
            store,
            broker,
            tracer: wiring::tracer(config, &role.to_string(), &name, (&clock, &dice), services)?,
            clock,
            name,
            dice,
        })
    }

    pub(super) fn web(&self, directory: &Directory) -> anyhow::Result<WebParts> {
        let config = self.config;
        Ok(WebParts {
            store: self.store.clone(),
            directory: directory.clone(),
            producer: Producer::on(self.broker.clone(), config.max_payload, CONFIRM_WITHIN),
            clock: self.clock.clone(),
            dice: self.dice.clone(),
            tracer: self.tracer.clone(),
            lifecycle: self.life.clone(),
            settings: nuncio_web::Settings {
                namespace: config.namespace.clone(),
                main_secrets: config.token_secrets.clone(),
                listen: config.listen,
                public_url: config.public_url_at(config.listen),
                urls: wiring::url_rules(config),
                payload_bytes_max: config.max_payload,
                retention: config.retention,
                rates: Rates::default(),
                requests_at_once: config.api_concurrency,
                pages: PageSettings {
                    rungs: wiring::retry_policy(config)?.rungs(),
                    signature_prefix: match config.signature_headers {
                        config::SignatureHeaders::Svix => SignaturePrefix::Svix,
                        config::SignatureHeaders::Webhook | config::SignatureHeaders::Both => {
                            SignaturePrefix::Webhook
                        }
                    },
                    frame_ancestors: config.portal_frame_ancestors.clone(),
                },
            },
        })
    }

    pub(super) fn router(&self, directory: &Directory) -> anyhow::Result<RouterParts> {
        Ok(RouterParts {
            broker: self.broker.clone(),
            store: self.store.clone(),
            directory: directory.clone(),
            recorder: self.recorder.clone(),
            clock: self.clock.clone(),
            dice: self.dice.clone(),
            tracer: self.tracer.clone(),
            life: self.life.clone(),
            name: self.name.clone(),
            payload_bytes_max: self.config.max_payload,
            coalesce: wiring::coalesce_fields(self.config)?,
            policy: wiring::retry_policy(self.config)?,
        })
    }

    pub(super) fn sender(&self, directory: &Directory) -> anyhow::Result<SenderParts> {
        let config = self.config;
        Ok(SenderParts {
            broker: self.broker.clone(),
            store: self.store.clone(),
            directory: directory.clone(),
            recorder: self.recorder.clone(),
            states: StateReader::start(
                self.store.clone(),
                &self.services.tracker,
                self.services.stop.clone(),
            ),
            http: wiring::http_client(config)?,
            clock: self.clock.clone(),
            dice: self.dice.clone(),
            tracer: self.tracer.clone(),
            life: self.life.clone(),
            id: SenderId::new(&self.name),
            settings: SenderSettings {
                policy: wiring::retry_policy(config)?,
                request_timeout: config.request_timeout,
                endpoint_concurrency: config.endpoint_concurrency.into(),
                sender_concurrency: config.sender_concurrency,
                disable_after: config.disable_after,
                signature_headers: match config.signature_headers {
                    config::SignatureHeaders::Webhook => SignatureHeaders::Webhook,
                    config::SignatureHeaders::Svix => SignatureHeaders::Svix,
                    config::SignatureHeaders::Both => SignatureHeaders::Both,
                },
                url_rules: wiring::url_rules(config),
            },
        })
    }
}
