use std::{io, sync::Arc};

use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::test_util::{
    CLIENT_ID, CLIENT_SECRET, Client, Knobs, Listener, LoopbackCloud,
    connector::LoopbackConnector,
    data::Data,
    serve::{Door, serve},
    shared::Shared,
    tokens::Tokens,
};

/// Settings of the servers before they start. Made by [`LoopbackCloud::builder`].
#[derive(Debug)]
#[must_use = "nothing runs until it is started"]
pub struct LoopbackCloudBuilder {
    knobs: Knobs,
    clients: Vec<Client>,
    users: usize,
    queues: usize,
    conversations: usize,
}

impl LoopbackCloudBuilder {
    pub(super) fn new() -> Self {
        Self {
            knobs: Knobs::default(),
            clients: vec![Client::new(CLIENT_ID, CLIENT_SECRET)],
            users: 60,
            queues: 30,
            conversations: 250,
        }
    }

    /// Turns knobs, as [`LoopbackCloud::configure`] does later.
    pub fn configure(mut self, change: impl FnOnce(&mut Knobs)) -> Self {
        change(&mut self.knobs);
        self
    }

    /// Adds a client, beside [`CLIENT_ID`], that may do everything.
    pub fn client(self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.register(Client::new(id, secret))
    }

    /// Adds a client, in place of one with the same id.
    pub fn register(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// How many users there are. Default: 60, three pages of the usual size.
    pub fn users(mut self, count: usize) -> Self {
        self.users = count;
        self
    }

    /// How many queues there are. Default: 30, two pages of the usual size.
    pub fn queues(mut self, count: usize) -> Self {
        self.queues = count;
        self
    }

    /// How many conversations there are: the same ones in every run, spread evenly over January
    /// 2026. Default: 250, ten pages of the usual size.
    pub fn conversations(mut self, count: usize) -> Self {
        self.conversations = count;
        self
    }

    /// Starts both servers on free ports of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If a port cannot be had.
    pub async fn start(self) -> io::Result<LoopbackCloud> {
        let login = TcpListener::bind(("127.0.0.1", 0)).await?;
        let api = TcpListener::bind(("127.0.0.1", 0)).await?;
        let login_url = format!("http://{}", login.local_addr()?);
        let api_url = format!("http://{}", api.local_addr()?);
        let doors = [
            (Listener::Login, Door::Socket(login)),
            (Listener::Api, Door::Socket(api)),
        ];
        Ok(self.open(login_url, api_url, doors, LoopbackConnector::sockets()))
    }

    /// Starts both servers without sockets, as `http://login.localhost` and
    /// `http://api.localhost`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, which the servers' tasks need.
    pub fn start_in_memory(self) -> LoopbackCloud {
        let (to_login, login) = mpsc::unbounded_channel();
        let (to_api, api) = mpsc::unbounded_channel();
        let doors = [
            (Listener::Login, Door::Memory(login)),
            (Listener::Api, Door::Memory(api)),
        ];
        self.open(
            format!("http://{}", Listener::Login.host()),
            format!("http://{}", Listener::Api.host()),
            doors,
            LoopbackConnector::memory(to_login, to_api),
        )
    }

    fn open(
        self,
        login_url: String,
        api_url: String,
        doors: [(Listener, Door); 2],
        connector: LoopbackConnector,
    ) -> LoopbackCloud {
        let mut tokens = Tokens::default();
        for client in self.clients {
            tokens.register(client);
        }
        let data = Data::new(self.users, self.queues, self.conversations);
        let shared = Arc::new(Shared::new(self.knobs, tokens, data, login_url, api_url));
        let mut servers = JoinSet::new();
        for (listener, door) in doors {
            servers.spawn(serve(door, listener, Arc::clone(&shared)));
        }
        LoopbackCloud::new(shared, connector, servers)
    }
}
