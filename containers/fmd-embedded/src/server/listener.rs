//! Where connections come from: a unix socket or all addresses of a port.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Listen;
use crate::log::{Event, Logger};

pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A connection.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub fn bind(listen: &Listen, log: &Logger) -> Result<Self> {
        match listen {
            Listen::Tcp { port } => {
                let listener = bind_tcp(*port)
                    .with_context(|| format!("PortInsecure: cannot listen on port {port}"))?;
                let port = listener.local_addr()?.port();
                let event = Event::info("listening on insecure port");
                log.write(&event.number("PortInsecure", i64::from(port)));
                Ok(Listener::Tcp(listener))
            }
            Listen::Unix { path, mode } => {
                let shown = path.display().to_string();
                let listener = bind_unix(path, *mode)
                    .with_context(|| format!("UnixSocketPath: cannot listen on {shown}"))?;
                let event = Event::info("listening on unix socket");
                log.write(&event.text("UnixSocketPath", &shown));
                Ok(Listener::Unix(listener, path.clone()))
            }
        }
    }

    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// A connection and its peer, in Go's spelling.
    pub async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), tcp_peer(peer)))
            }
            Listener::Unix(listener, _) => {
                let (stream, peer) = listener.accept().await?;
                let peer = match peer.as_pathname() {
                    Some(path) => path.display().to_string(),
                    None => "@".to_owned(),
                };
                Ok((Stream::Unix(stream), peer))
            }
        }
    }

    /// Stops listening and takes the socket away.
    pub fn close(self) {
        if let Listener::Unix(listener, path) = self {
            drop(listener);
            // Gone already is as good as gone.
            let _ = fs::remove_file(path);
        }
    }
}

/// All addresses of both families, or of IPv4 where there is no IPv6.
fn bind_tcp(port: u16) -> io::Result<TcpListener> {
    let listener =
        StdTcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| {
            match error.kind() {
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                _ => StdTcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
            }
        })?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// `address:port`, an IPv4 client of the IPv6 socket under its own address.
fn tcp_peer(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
}

fn bind_unix(path: &Path, mode: Option<u32>) -> Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => bail!("it exists and is no socket; remove it or choose another path"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    // Nobody sees it before it has its mode.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(".new");
    let hidden = Path::new(&hidden);
    let bound = bind_hidden(hidden, mode).and_then(|listener| {
        fs::rename(hidden, path)?;
        Ok(listener)
    });
    if bound.is_err() {
        let _ = fs::remove_file(hidden);
    }
    bound
}

fn bind_hidden(path: &Path, mode: Option<u32>) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("UnixSocketChmod: cannot set the mode to {mode:04o}"))?;
    }
    Ok(listener)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(task, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(task, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(task, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(task, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(task),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}
