//! What stands where upstream has its web client.

use std::path::{Path, PathBuf};

use crate::answer::Answer;

/// The page upstream serves when it was built without the web client. Any
/// unknown path is answered with it, so no scanner ever sees a 404.
const PAGE: &str = "<!doctype html><title>fmd stub</title>\n";

/// The pages.
pub struct Web {
    dir: Option<PathBuf>,
}

impl Web {
    pub fn new(dir: Option<&Path>) -> Self {
        Web {
            dir: dir.map(Path::to_path_buf),
        }
    }

    /// The page of a decoded path.
    pub async fn page(&self, path: &str, query: Option<&str>) -> Answer {
        let _ = &self.dir;
        match path {
            "/index.html" => {
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                Answer::moved(format!("./{query}"), false)
            }
            _ => Answer::html(PAGE),
        }
    }
}
