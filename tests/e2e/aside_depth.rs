//! Headers that are nested without measure, which any publisher may send: nobody who receives them dies of it.
//!
//! Owns a publisher of raw frames, as a library that builds such headers by recursion would die of them itself.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, ensure};
use e2e::LONG;
use url::Url;

use crate::delivery_stage::{Stage, user};

/// As deep as a frame of 128 KiB allows, nearly.
const DEPTH: usize = 15_000;

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("it is not that long");
    [&length.to_be_bytes(), bytes].concat()
}

/// Nothing, in so many arrays or tables.
fn nested(kind: u8, depth: usize) -> Vec<u8> {
    (0..depth).fold(vec![b'V'], |inner, _| {
        let inside = if kind == b'F' {
            [short("a"), inner].concat()
        } else {
            inner
        };
        [&[kind][..], &long(&inside)].concat()
    })
}

/// A connection with one channel that confirms.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    fn connect(url: &Url) -> Result<Self> {
        let address = (url.host_str().context("a host")?, url.port().context("a port")?);
        let mut raw = Self {
            stream: TcpStream::connect(address)?,
        };
        raw.stream.set_read_timeout(Some(LONG))?;
        raw.stream.write_all(b"AMQP\0\0\x09\x01")?;
        raw.receive()?;
        let who = format!("\0{}\0{}", url.username(), url.password().unwrap_or_default());
        let answer = [
            &[0; 4][..],
            &short("PLAIN"),
            &long(who.as_bytes()),
            &short("en_US"),
        ]
        .concat();
        raw.method(0, (10, 11), &answer)?;
        let tune = raw.receive()?;
        let (channels_and_frame, _heartbeat) = tune[4..10].split_at(6);
        raw.method(0, (10, 31), &[channels_and_frame, &[0, 0]].concat())?;
        raw.method(0, (10, 40), &[short("/"), vec![0, 0]].concat())?;
        raw.receive()?;
        for (method, arguments) in [((20, 10), [0]), ((85, 10), [0])] {
            raw.method(1, method, &arguments)?;
            raw.receive()?;
        }
        Ok(raw)
    }

    fn publish(&mut self, exchange: &str, key: &str, app: &str, header: &[u8], body: &[u8]) -> Result<()> {
        let to = [&[0, 0][..], &short(exchange), &short(key), &[0]].concat();
        self.method(1, (60, 40), &to)?;
        // Content type, headers, type and app id.
        let flags: u16 = 1 << 15 | 1 << 13 | 1 << 5 | 1 << 3;
        let table = long(&[short("x"), header.to_vec()].concat());
        let size = (body.len() as u64).to_be_bytes();
        let properties = [short("application/json"), table, short("sync.user"), short(app)].concat();
        self.frame(
            2,
            1,
            &[&[0, 60, 0, 0][..], &size, &flags.to_be_bytes(), &properties].concat(),
        )?;
        self.frame(3, 1, body)?;
        let answer = self.receive()?;
        ensure!(answer[..4] == [0, 60, 0, 80], "not confirmed: {answer:?}");
        Ok(())
    }

    fn method(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) -> Result<()> {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(1, channel, &payload)
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> Result<()> {
        let frame = [&[kind][..], &channel.to_be_bytes(), &long(payload), &[0xce]].concat();
        Ok(self.stream.write_all(&frame)?)
    }

    /// The payload of the next frame.
    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head)?;
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; size as usize + 1];
        self.stream.read_exact(&mut payload)?;
        payload.pop();
        Ok(payload)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_nested_without_measure_end_nobody() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let url = Url::parse(stage.deployment.setting("NUNCIO_AMQP_URL")).expect("a URL");
    let exchange = format!("{}.events", stage.deployment.setting("NUNCIO_NAMESPACE"));
    let app = stage.app.clone();
    let published = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::connect(&url)?;
        for (n, kind) in [b'A', b'F'].into_iter().enumerate() {
            let header = nested(kind, DEPTH);
            raw.publish(
                &exchange,
                &format!("{app}.sync.user"),
                &app,
                &header,
                user(n).as_bytes(),
            )?;
        }
        Ok::<_, anyhow::Error>(())
    });
    published.await.expect("no panic").expect("both are confirmed");
    stage.publish_user(2).await;
    let seen = stage.receiver.wait_for("/a", 3, LONG).await;
    let mut bodies: Vec<_> = seen.iter().map(|request| request.text().to_owned()).collect();
    bodies.sort();
    let mut expected: Vec<_> = (0..3).map(user).collect();
    expected.sort();
    assert_eq!(
        bodies, expected,
        "headers that mean nothing to Nuncio do not keep an event back"
    );
    assert!(stage.nuncio.is_ready().await);
}
