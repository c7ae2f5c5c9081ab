//! What stands around every page: name, navigation, notices, the files it loads.
//!
//! Guarantees that of a white label only a picture becomes a picture and only a colour a colour.

use std::sync::{Arc, OnceLock};

use http::Extensions;
use nuncio_domain::App;

use super::accent;
use super::assets;
use crate::look::{Look, is_picture};

/// Which of the two places a page is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The customer's.
    Portal,
    /// The operator's.
    Console,
}

impl Place {
    pub(crate) fn home(self) -> &'static str {
        match self {
            Self::Portal => "/portal/endpoints",
            Self::Console => "/console/projects",
        }
    }
}

/// One entry of the navigation.
#[derive(Debug, Clone)]
pub(crate) struct Tab {
    pub(crate) href: String,
    pub(crate) label: &'static str,
    pub(crate) current: bool,
}

/// What stands around a page.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) title: String,
    pub(crate) brand: String,
    pub(crate) logo: Option<String>,
    pub(crate) theme: Option<String>,
    pub(crate) context: String,
    pub(crate) home: &'static str,
    pub(crate) tabs: Vec<Tab>,
    /// The form that ends the session, where there is one.
    pub(crate) leave: Option<&'static str>,
    pub(crate) csrf: String,
    pub(crate) notice: Option<&'static str>,
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
}

/// The shell of the session that a request turned out to belong to: kept beside the request, for the page that says what
/// could not be done in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame(Arc<OnceLock<Shell>>);

impl Frame {
    /// Keeps a shell with the request that has these extensions, unless it has one.
    pub(crate) fn keep(extensions: &Extensions, shell: impl FnOnce() -> Shell) {
        if let Some(frame) = extensions.get::<Self>() {
            frame.0.get_or_init(shell);
        }
    }

    /// What was kept.
    pub(crate) fn shell(&self) -> Option<&Shell> {
        self.0.get()
    }
}

impl Shell {
    /// A page outside any session.
    pub(crate) fn bare(place: Place, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            brand: match place {
                Place::Portal => "Webhooks".to_owned(),
                Place::Console => "Nuncio".to_owned(),
            },
            logo: None,
            theme: None,
            context: String::new(),
            home: place.home(),
            tabs: Vec::new(),
            leave: None,
            csrf: String::new(),
            notice: None,
            style: assets::style(),
            script: assets::script(),
        }
    }

    /// A page in a session.
    pub(crate) fn signed_in(
        place: Place,
        title: impl Into<String>,
        tabs: &[(&'static str, &'static str)],
        current: &str,
        csrf: String,
    ) -> Self {
        let tabs = tabs.iter().map(|&(href, label)| Tab {
            href: href.to_owned(),
            label,
            current: href == current,
        });
        Self {
            tabs: tabs.collect(),
            leave: Some(match place {
                Place::Portal => "/portal/leave",
                Place::Console => "/console/leave",
            }),
            csrf,
            ..Self::bare(place, title)
        }
    }

    /// Shows the app's name, and its own look where it has one.
    pub(crate) fn branded(mut self, app: &App, look: Look) -> Self {
        self.context.clone_from(&app.name);
        if let Some(name) = look.name {
            self.brand = name;
        }
        self.logo = look.logo.filter(|logo| is_picture(logo));
        self.theme = look
            .accent
            .and_then(|colour| accent::Colour::parse(&colour))
            .map(|colour| format!("/assets/accent/{}", colour.hex()));
        self
    }

    /// Shows what was just done.
    pub(crate) fn told(mut self, notice: Option<&'static str>) -> Self {
        self.notice = notice;
        self
    }
}
