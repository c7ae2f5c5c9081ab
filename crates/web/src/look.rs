//! The white label: the name, the logo and the accent colour that a portal is shown with.
//!
//! Owns their grammar, and where they come from: a link's own, or else those in its app's metadata. Guarantees that a
//! logo is a picture within the page, so that no page loads anything from elsewhere. Refuses to know how they are drawn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const NAME: &str = "portal-name";
const LOGO: &str = "portal-logo";
const ACCENT: &str = "portal-accent";

/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 64;
/// Bytes of a logo in a link: it travels in the token, and then in a cookie.
pub const LINK_LOGO_BYTES_MAX: usize = 1_024;

const LOGO_KINDS: [&str; 4] = [
    "data:image/png;base64,",
    "data:image/svg+xml;base64,",
    "data:image/jpeg;base64,",
    "data:image/webp;base64,",
];

/// How a portal looks. What is not given is Nuncio's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Look {
    /// What stands in place of “Webhooks”.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable,
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    pub name: Option<String>,
    /// A small picture as a `data:` URL: PNG, SVG, JPEG or WebP in base64, at most 1 KiB; a larger one belongs in the
    /// app's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable,
        max_length = 1024,
        pattern = r"^data:image/(png|svg\+xml|jpeg|webp);base64,[A-Za-z0-9+/=]+$"
    )]
    pub logo: Option<String>,
    /// A colour for links and buttons; made darker or lighter where text in it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable, pattern = "^#[0-9a-fA-F]{6}$", example = "#0f766e")]
    pub accent: Option<String>,
}

impl Look {
    /// What an app's metadata says.
    #[must_use]
    pub fn of_metadata(metadata: &BTreeMap<String, String>) -> Self {
        let of = |key: &str| metadata.get(key).filter(|text| !text.is_empty()).cloned();
        Self {
            name: of(NAME),
            logo: of(LOGO),
            accent: of(ACCENT),
        }
    }

    /// Puts it into an app's metadata, in the place of what was there. Leaves other keys alone.
    pub fn write_to(&self, metadata: &mut BTreeMap<String, String>) {
        for (key, value) in [(NAME, &self.name), (LOGO, &self.logo), (ACCENT, &self.accent)] {
            match value.as_ref().filter(|text| !text.is_empty()) {
                Some(text) => metadata.insert(key.to_owned(), text.clone()),
                None => metadata.remove(key),
            };
        }
    }

    /// This one, filled up from `other` where it says nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            logo: self.logo.or(other.logo),
            accent: self.accent.or(other.accent),
        }
    }

    /// What is wrong with it, by field; the logo may have as many bytes as that.
    #[must_use]
    pub fn mistakes(&self, logo_bytes_max: usize) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if let Some(name) = &self.name
            && (name.is_empty()
                || name.chars().count() > NAME_CHARS_MAX
                || name.chars().any(char::is_control))
        {
            mistakes.push((
                "name",
                format!("must have from 1 to {NAME_CHARS_MAX} printable characters"),
            ));
        }
        if let Some(logo) = &self.logo {
            if !is_picture(logo) {
                let text = "must be a data: URL of a PNG, SVG, JPEG or WebP picture in base64";
                mistakes.push(("logo", text.to_owned()));
            } else if logo.len() > logo_bytes_max {
                mistakes.push(("logo", format!("must have at most {logo_bytes_max} bytes")));
            }
        }
        if let Some(accent) = &self.accent
            && !is_colour(accent)
        {
            mistakes.push(("accent", "must be a colour of the form #rrggbb".to_owned()));
        }
        mistakes
    }
}

/// Whether a text is a `data:` URL of a picture.
#[must_use]
pub fn is_picture(text: &str) -> bool {
    LOGO_KINDS.iter().any(|kind| {
        text.strip_prefix(kind).is_some_and(|data| {
            !data.is_empty()
                && data
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        })
    })
}

fn is_colour(text: &str) -> bool {
    let hex = text.strip_prefix('#').unwrap_or_default();
    hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, logo: &str, accent: &str) -> Look {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Look {
            name: some(name),
            logo: some(logo),
            accent: some(accent),
        }
    }

    #[test]
    fn a_logo_is_a_picture_within_the_page() {
        assert!(is_picture("data:image/png;base64,iVBORw0KGgo="));
        for text in [
            "https://tracker.example/x.png",
            "data:text/html;base64,AAAA",
            "data:image/png;base64,\"><script>",
            "data:image/svg+xml,<svg onload=alert(1)>",
            "data:image/png;base64,",
            "javascript:alert(1)",
        ] {
            assert!(!is_picture(text), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_told_by_field() {
        let picture = "data:image/png;base64,iVBORw0KGgo=";
        assert!(look("Acme", picture, "#0F766e").mistakes(100).is_empty());
        let fields =
            |look: Look| -> Vec<_> { look.mistakes(20).into_iter().map(|(field, _)| field).collect() };
        assert_eq!(fields(look("a\nb", picture, "red")), ["name", "logo", "accent"]);
        assert_eq!(
            fields(look(&"n".repeat(65), "x", "#12345")),
            ["name", "logo", "accent"]
        );
    }

    #[test]
    fn a_links_look_goes_before_its_apps_and_leaves_other_metadata_alone() {
        let mut metadata = BTreeMap::from([("own".to_owned(), "kept".to_owned())]);
        look("Acme", "", "#123456").write_to(&mut metadata);
        assert_eq!(metadata.len(), 3);
        let app = Look::of_metadata(&metadata);
        assert_eq!(look("", "", "#654321").or(app), look("Acme", "", "#654321"));
        Look::default().write_to(&mut metadata);
        assert_eq!(metadata.into_keys().collect::<Vec<_>>(), ["own"]);
    }
}
