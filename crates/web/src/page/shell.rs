//! What stands around every page: name, navigation, notices, the files it loads.
//!
//! Owns the white label: name, logo and accent colour that an app's metadata gives. Guarantees that a logo is a picture
//! within the page, and a colour is a colour.

use nuncio_domain::App;

use super::accent;
use super::assets;

/// The app's metadata keys of the white label.
pub(crate) const BRAND_NAME: &str = "portal-name";
/// A picture as a `data:` URL.
pub(crate) const BRAND_LOGO: &str = "portal-logo";
/// A colour as `#rrggbb`.
pub(crate) const BRAND_ACCENT: &str = "portal-accent";

const LOGO_KINDS: [&str; 4] = [
    "data:image/png;base64,",
    "data:image/svg+xml;base64,",
    "data:image/jpeg;base64,",
    "data:image/webp;base64,",
];

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
    pub(crate) fn branded(mut self, app: &App) -> Self {
        self.context.clone_from(&app.name);
        let of = |key: &str| app.metadata.get(key).filter(|text| !text.is_empty());
        if let Some(name) = of(BRAND_NAME) {
            self.brand.clone_from(name);
        }
        self.logo = of(BRAND_LOGO).filter(|logo| is_picture(logo)).cloned();
        self.theme = of(BRAND_ACCENT)
            .and_then(|colour| accent::Colour::parse(colour))
            .map(|colour| format!("/assets/accent/{}", colour.hex()));
        self
    }

    /// Shows what was just done.
    pub(crate) fn told(mut self, notice: Option<&'static str>) -> Self {
        self.notice = notice;
        self
    }
}

fn is_picture(text: &str) -> bool {
    LOGO_KINDS.iter().any(|kind| {
        text.strip_prefix(kind).is_some_and(|data| {
            data.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logo_is_a_picture_within_the_page() {
        assert!(is_picture("data:image/png;base64,iVBORw0KGgo="));
        for text in [
            "https://tracker.example/x.png",
            "data:text/html;base64,PHN2Zz4=",
            "data:image/png;base64,\" onerror=\"x",
            "javascript:alert(1)",
        ] {
            assert!(!is_picture(text), "{text}");
        }
    }
}
