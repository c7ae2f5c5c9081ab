//! The benchmark's own processes and how the conductor speaks to them.
//!
//! Owns a line of JSON each way over a loopback connection that the child dials. Guarantees that a child ends with the
//! conductor. Load, receiver and bare loop are processes of their own so that the CPU of each can be told apart.

use std::{future::Future, net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use e2e::process::{AtParentsDeath, Process, mortal};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const START: Duration = Duration::from_secs(10);

/// A child as the conductor sees it.
pub(crate) struct Child {
    part: &'static str,
    process: Process,
    link: BufReader<TcpStream>,
}

impl Child {
    /// Starts this very program as `part`.
    pub(crate) async fn start(part: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut command = mortal(std::env::current_exe()?, AtParentsDeath::Kill);
        command
            .arg(part)
            .arg("--control")
            .arg(listener.local_addr()?.to_string())
            .stdin(Stdio::null());
        let process = Process::spawn(part, command)?;
        let (stream, _) = timeout(START, listener.accept())
            .await
            .with_context(|| format!("the {part} process did not call"))??;
        stream.set_nodelay(true)?;
        Ok(Self {
            part,
            process,
            link: BufReader::new(stream),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// One request and its answer.
    pub(crate) async fn ask<A: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
        within: Duration,
    ) -> Result<A> {
        let exchange = async {
            write_line(self.link.get_mut(), request).await?;
            match read_line(&mut self.link).await? {
                Some(Reply::Ok(answer)) => Ok(serde_json::from_value(answer)?),
                Some(Reply::Failed(why)) => bail!("{why}"),
                None => bail!("it hung up"),
            }
        };
        match timeout(within, exchange).await {
            Ok(answer) => answer.with_context(|| format!("the {} process", self.part)),
            Err(_) => bail!("the {} process did not answer within {within:?}", self.part),
        }
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Reply {
    Ok(Value),
    Failed(String),
}

/// The child's side: answers requests in turn until the conductor hangs up.
pub(crate) async fn serve<Q, A, F>(control: SocketAddr, mut answer: impl FnMut(Q) -> F) -> Result<()>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Result<A>>,
{
    let stream = TcpStream::connect(control).await?;
    stream.set_nodelay(true)?;
    let mut link = BufReader::new(stream);
    while let Some(request) = read_line(&mut link).await? {
        let reply = match answer(request).await {
            Ok(answer) => Reply::Ok(serde_json::to_value(answer)?),
            Err(error) => Reply::Failed(format!("{error:#}")),
        };
        write_line(link.get_mut(), &reply).await?;
    }
    Ok(())
}

async fn write_line(stream: &mut TcpStream, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(())
}

async fn read_line<T: DeserializeOwned>(link: &mut BufReader<TcpStream>) -> Result<Option<T>> {
    let mut line = String::new();
    if link.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    ensure!(line.ends_with('\n'), "a line was cut short");
    Ok(Some(serde_json::from_str(&line)?))
}
