//! A receiver of webhooks on loopback: records what arrives and answers 200.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nthanks";

/// One request.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A receiver that listens until the process ends.
pub struct Receiver {
    pub url: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let arrived = Arc::default();
        let record = Arc::clone(&arrived);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let record = Arc::clone(&record);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &record).await {
                        eprintln!("the receiver: {error:#}");
                    }
                });
            }
        });
        Ok(Self { url, arrived })
    }

    /// What arrived at `path`, in order.
    pub fn at(&self, path: &str) -> Vec<Arrived> {
        let arrived = self.arrived.lock().expect("nothing panics under the lock");
        let here = arrived.iter().filter(|request| request.path == path);
        here.cloned().collect()
    }
}

async fn serve(stream: TcpStream, record: &Mutex<Vec<Arrived>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        record
            .lock()
            .expect("nothing panics under the lock")
            .push(request);
        stream.write_all(ANSWER).await?;
    }
    Ok(())
}

/// One request; nothing once the other end has closed.
async fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Arrived>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).context("a request line")?.to_owned();
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            bail!("the headers ended too early");
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value.trim())?);
    }
    let length = headers.get("content-length").context("a body has a length")?;
    let mut body = vec![0; length.to_str()?.parse()?];
    stream.read_exact(&mut body).await?;
    Ok(Some(Arrived { path, headers, body }))
}
