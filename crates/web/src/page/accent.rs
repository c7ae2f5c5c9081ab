//! The accent colour of a white label.
//!
//! Guarantees that text in it and text on it can be read, in light and in dark (WCAG 2.2, 1.4.3): a colour that is too
//! pale or too dark is moved towards black or white until it can.

use std::fmt::Write;

/// The least contrast of text.
const CONTRAST_MIN: f64 = 4.6;
/// The surfaces that accented text stands on.
const LIGHT: Colour = Colour([0xf6, 0xf7, 0xf9]);
const DARK: Colour = Colour([0x1d, 0x21, 0x2a]);
const WHITE: Colour = Colour([0xff; 3]);
const BLACK: Colour = Colour([0x0b, 0x0d, 0x12]);

/// A colour: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour([u8; 3]);

impl Colour {
    /// The colour in `#rrggbb` or `rrggbb`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.trim().strip_prefix('#').unwrap_or(text.trim());
        if hex.len() != 6 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let part = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
        Some(Self([part(0)?, part(2)?, part(4)?]))
    }

    pub(crate) fn hex(self) -> String {
        self.0.iter().fold(String::new(), |mut hex, part| {
            write!(hex, "{part:02x}").expect("writing to a string cannot fail");
            hex
        })
    }

    fn luminance(self) -> f64 {
        let [r, g, b] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// The colour itself, or the nearest on the way to `to` that can be read on `on`.
    fn readable(self, on: Self, to: Self) -> Self {
        let mixed = |share: u16| {
            let mut parts = self.0;
            for (part, end) in parts.iter_mut().zip(to.0) {
                let sum = u16::from(*part) * (20 - share) + u16::from(end) * share;
                *part = u8::try_from(sum / 20).unwrap_or(u8::MAX);
            }
            Self(parts)
        };
        (0..=20)
            .map(mixed)
            .find(|colour| colour.contrast(on) >= CONTRAST_MIN)
            .unwrap_or(to)
    }
}

/// The style sheet that puts the colour in the place of ours.
pub(crate) fn style(colour: Colour) -> String {
    let rule = |accent: Colour| {
        let ink = if accent.contrast(WHITE) >= CONTRAST_MIN {
            WHITE
        } else {
            BLACK
        };
        format!(":root{{--accent:#{};--on-accent:#{}}}", accent.hex(), ink.hex())
    };
    let light = colour.readable(LIGHT, BLACK);
    let dark = colour.readable(DARK, WHITE);
    format!(
        "{}@media(prefers-color-scheme:dark){{{}}}",
        rule(light),
        rule(dark)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_colour_becomes_readable() {
        for hex in ["#ffff00", "#000000", "#ffffff", "#3f5bd9", "#777777", "#ff0000"] {
            let colour = Colour::parse(hex).unwrap();
            assert!(
                colour.readable(LIGHT, BLACK).contrast(LIGHT) >= CONTRAST_MIN,
                "{hex}"
            );
            assert!(
                colour.readable(DARK, WHITE).contrast(DARK) >= CONTRAST_MIN,
                "{hex}"
            );
        }
    }

    #[test]
    fn only_colours_are_colours() {
        assert_eq!(
            Colour::parse("#3F5bd9").map(Colour::hex).as_deref(),
            Some("3f5bd9")
        );
        for text in ["", "red", "#fff", "#12345g", "#123456}", "é12345"] {
            assert_eq!(Colour::parse(text), None, "{text}");
        }
        assert!(style(Colour::parse("3f5bd9").unwrap()).starts_with(":root{--accent:#3f5bd9;"));
    }
}
