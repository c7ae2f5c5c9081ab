//! The file: reading it, choosing from it, and its secrets.
//!
//! Guarantees that a backup which is not whole, or whose secrets could not be used here, is refused before anything is
//! asked of a server.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use nuncio_domain::{AppId, EndpointId, UnixMillis};
use nuncio_store::{EndpointSecrets, Store};
use nuncio_wire::backup::{Backup, PlainSecrets, Reader};
use nuncio_wire::journal::AppImage;
use secrecy::SecretString;

/// Reads all of a backup.
pub(super) fn read(path: &Path) -> anyhow::Result<Backup> {
    if path == Path::new("-") {
        return read_from(io::stdin().lock()).context("failed to restore from standard input");
    }
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("failed to open {shown}"))?;
    read_from(BufReader::new(file)).with_context(|| format!("failed to restore from {shown}"))
}

fn read_from(mut input: impl BufRead) -> anyhow::Result<Backup> {
    let (mut reader, mut line) = (Reader::default(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(reader.finish()?);
        }
        reader.take(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}

/// Forgets all apps but these, if there are any.
pub(super) fn keep_only(backup: &mut Backup, apps: &[String]) -> anyhow::Result<()> {
    let names = |image: &AppImage, name: &String| image.id == *name || image.uid.as_ref() == Some(name);
    let images = &mut backup.configuration.apps;
    for app in apps {
        if !images.iter().any(|image| names(image, app)) {
            bail!("there is no app with the id or uid {app} in the backup");
        }
    }
    if !apps.is_empty() {
        images.retain(|image| apps.iter().any(|app| names(image, app)));
    }
    Ok(())
}

/// Seals all secrets with the main secret of this installation.
pub(super) fn seal(backup: &mut Backup, store: &Store, with_unopened: bool) -> anyhow::Result<()> {
    let (mut all, mut unopened) = (0_usize, 0_usize);
    for image in &mut backup.configuration.apps {
        let app = AppId::parse(&image.id)?;
        let plain = backup.secrets.remove(&image.id).unwrap_or_default();
        for endpoint in &mut image.endpoints {
            let id = EndpointId::parse(&endpoint.id)?;
            all += 1;
            let secrets = match plain.get(&endpoint.id) {
                Some(plain) => Ok(secret(plain)),
                None => store.open_secrets(&app, &id, &endpoint.sealed),
            };
            match secrets {
                Ok(secrets) => endpoint.sealed = store.seal_secrets(&app, &id, &secrets),
                Err(_) => unopened += 1,
            }
        }
    }
    if unopened == 0 || with_unopened {
        return Ok(());
    }
    let either = "Put the main secret of the installation that was saved into NUNCIO_MAIN_SECRET_EARLIER and restore again, \
                  or save it once more with `nuncio backup --plain`";
    if unopened == all {
        bail!("the backup's secrets are sealed with another main secret than NUNCIO_MAIN_SECRET. {either}");
    }
    bail!(
        "no main secret opens the secrets of {unopened} of {all} endpoints. {either}; with --with-unopened they are \
         restored as they are"
    );
}

fn secret(plain: &PlainSecrets) -> EndpointSecrets {
    let old = plain
        .old
        .iter()
        .map(|(secret, until)| (SecretString::from(secret.as_str()), UnixMillis(*until)));
    EndpointSecrets {
        current: SecretString::from(plain.current.as_str()),
        old: old.collect(),
    }
}
