use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::Duration,
};

use http::StatusCode;

use super::Case;

/// An nginx with a folder of its own. Both are gone when it is dropped.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Nginx {
    /// One location `/<name>` and one zone for each case.
    pub fn start(rate: u32, cases: &[Case]) -> Self {
        // Somebody may take the port before nginx does.
        (0..5)
            .find_map(|_| Self::try_start(rate, cases))
            .expect("one of five ports was free")
    }

    fn try_start(rate: u32, cases: &[Case]) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{}", process::id()));
        fs::create_dir_all(folder.join("html")).unwrap();
        fs::write(folder.join("html/ok.txt"), "ok\n").unwrap();
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(address, rate, cases)).unwrap();
        drop(free);
        let child = Command::new(program())
            .args(["-p".as_ref(), folder.as_os_str()])
            .args(["-c".as_ref(), config.as_os_str()])
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).unwrap())
            .spawn()
            .expect("nginx is installed");
        let mut nginx = Self {
            child,
            address,
            folder,
        };
        nginx.listens().then_some(nginx)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number and the status of each request to this case that nginx has answered, in its order.
    pub fn answered(&self, case: &Case) -> Vec<(usize, u16)> {
        let log = fs::read_to_string(self.folder.join(case.name)).unwrap();
        log.lines()
            .map(|line| {
                let (number, status) = line.split_once(' ').unwrap();
                (number.parse().unwrap(), status.parse().unwrap())
            })
            .collect()
    }

    /// Waits until it has bound its port, after which it writes its process number, or has given up.
    fn listens(&mut self) -> bool {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                let stderr = fs::read_to_string(self.folder.join("stderr"));
                eprintln!("nginx did not start: {}", stderr.unwrap_or_default());
                return false;
            }
            if self.folder.join("pid").exists() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It is one process: there are no workers to outlive it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Debian keeps it out of the path of most users.
fn program() -> &'static Path {
    let program = Path::new("/usr/sbin/nginx");
    if program.exists() {
        program
    } else {
        Path::new("nginx")
    }
}

fn configuration(address: SocketAddr, rate: u32, cases: &[Case]) -> String {
    let zones: String = cases.iter().map(|case| zone(rate, case)).collect();
    let locations: String = cases.iter().map(location).collect();
    format!(
        "daemon off;
        master_process off;
        pid pid;
        error_log stderr crit;
        events {{ worker_connections 4096; }}
        http {{
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            access_log off;
            log_format numbers '$http_x_number $status';
            {zones}
            server {{
                listen {address} backlog=1024;
                root html;
                {locations}
            }}
        }}
        "
    )
}

/// Where a limit counts, and what its refusals say of the time to wait.
fn zone(rate: u32, case: &Case) -> String {
    let Case {
        name, retry_after, ..
    } = case;
    let retry_after = retry_after.map_or_else(String::new, |secs| format!("429 {secs};"));
    format!(
        "limit_req_zone $binary_remote_addr zone={name}:64k rate={rate}r/s;
        map $status $retry_after_{name} {{ {retry_after} default ''; }}
        "
    )
}

fn location(case: &Case) -> String {
    let Case { name, burst, .. } = case;
    let status = match case.refusal {
        // What it answers when it is not told.
        StatusCode::SERVICE_UNAVAILABLE => String::new(),
        status => format!("limit_req_status {};", status.as_u16()),
    };
    // A header with an empty value is left out.
    format!(
        "location /{name} {{
            limit_req zone={name} {burst};
            {status}
            add_header Retry-After $retry_after_{name} always;
            access_log {name} numbers;
            try_files /ok.txt =404;
        }}
        "
    )
}
