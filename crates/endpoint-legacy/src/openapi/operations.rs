//! Every operation, as one table.

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Login,
    /// Or nobody, if the project has the anonymous publisher.
    Publisher,
    Anybody,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    Nothing,
    Json(&'static str),
    Form(&'static str),
    Bytes,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    /// Parameters of the query, with what they are.
    pub(super) query: &'static [(&'static str, &'static str)],
    pub(super) body: Body,
    /// The status and the schema of its good answer.
    pub(super) gives: (u16, Option<&'static str>),
    /// Errors beside those that its path, body and access bring about.
    pub(super) errors: &'static [u16],
}

const fn new(
    method: &'static str,
    path: &'static str,
    (id, summary): (&'static str, &'static str),
) -> Operation {
    let (access, query, body) = (Access::Login, [].as_slice(), Body::Nothing);
    Operation { method, path, id, summary, access, query, body, gives: (204, None), errors: &[] }
}

impl Operation {
    const fn by(self, access: Access) -> Self {
        Self { access, ..self }
    }

    const fn takes(self, schema: &'static str) -> Self {
        Self { body: Body::Json(schema), ..self }
    }

    const fn uploads(self, schema: &'static str) -> Self {
        Self { body: Body::Form(schema), ..self }
    }

    const fn gives(self, status: u16, schema: &'static str) -> Self {
        Self { gives: (status, Some(schema)), ..self }
    }

    const fn fails(self, errors: &'static [u16]) -> Self {
        Self { errors, ..self }
    }
}

macro_rules! v0 {
    ($path:literal) => {
        concat!("/srv-applet-mgr/v0", $path)
    };
}

const EVENT: Operation = Operation {
    access: Access::Publisher,
    query: &[
        ("eventType", "The type; DEFAULT if not given. DA-TA_PU-SH says that the body is a batch."),
        ("eventID", "The sender's id of the event: printable ASCII without blanks, at most 128 characters."),
        ("timestamp", "The sender's time; one that cannot be read counts for nothing."),
        ("device_id", "With an account's key: which device it is."),
    ],
    body: Body::Bytes,
    gives: (201, Some("EventAnswers")),
    errors: &[403, 409, 504],
    ..new("post", v0!("/event/{channel}"), ("postEvent", "An event, or with DA-TA_PU-SH many."))
};

const REMOVE_PUBLISHER: Operation = Operation {
    query: &[("publisherID", "The publisher.")],
    ..new("delete", v0!("/publisher/x/{project}"), ("removePublisherOf", "Takes a publisher's token away."))
};

#[rustfmt::skip]
pub(super) const OPERATIONS: &[Operation] = &[
    new("put", v0!("/login"), ("login", "A session."))
        .by(Access::Anybody).takes("Credentials").gives(200, "Session").fails(&[401]),
    new("post", v0!("/register/admin"), ("register", "Makes an account."))
        .takes("Credentials").gives(201, "Account").fails(&[403, 409]),
    new("post", v0!("/account_access_key"), ("createKey", "Makes a key of the account."))
        .takes("NewKey").gives(201, "NewKeyAnswer").fails(&[409]),
    new("get", v0!("/account_access_key/datalist"), ("listKeys", "The account's keys.")).gives(200, "Keys"),
    new("delete", v0!("/account_access_key/{name}"), ("deleteKey", "Takes a key away.")),
    new("post", v0!("/project"), ("createProject", "Makes a project."))
        .takes("NewProject").gives(201, "NewProjectAnswer").fails(&[409]),
    new("get", v0!("/project/datalist"), ("listProjects", "The account's projects.")).gives(200, "Projects"),
    new("get", v0!("/project/detail_list"), ("listDetails", "The account's projects with their applets."))
        .gives(200, "Details"),
    new("get", v0!("/project/x/{project}/data"), ("showProject", "A project.")).gives(200, "Project"),
    new("delete", v0!("/project/x/{project}"), ("removeProject", "Stops a project and takes its tokens away.")),
    new("get", v0!("/project_config/x/{project}/{kind}"), ("getConfig", "A setting of a project.")).gives(200, "Config"),
    new("post", v0!("/project_config/x/{project}/{kind}"), ("setConfig", "Sets it."))
        .takes("Config").gives(201, "Config").fails(&[409]),
    new("post", v0!("/applet/x/{project}"), ("createApplet", "Uploads a module."))
        .uploads("NewApplet").gives(201, "Applet").fails(&[409]),
    new("get", v0!("/applet/x/{project}/datalist"), ("listApplets", "A project's applets.")).gives(200, "Applets"),
    new("put", v0!("/applet/{applet}"), ("updateApplet", "Replaces a module, a name or strategies."))
        .uploads("AppletChange").gives(200, "Applet").fails(&[409]),
    new("get", v0!("/applet/data/{applet}"), ("showApplet", "An applet.")).gives(200, "Applet"),
    new("delete", v0!("/applet/data/{applet}"), ("removeApplet", "Takes an applet away.")).fails(&[409]),
    new("post", v0!("/deploy/applet/{applet}"), ("deployApplet", "Its instance gets events from now on."))
        .gives(201, "Instance").fails(&[409]),
    new("get", v0!("/deploy/applet/{applet}"), ("instanceOf", "An applet's instance.")).gives(200, "Instance"),
    new("get", v0!("/deploy/instance/{instance}"), ("showInstance", "An instance.")).gives(200, "Instance"),
    new("put", v0!("/deploy/{instance}/{command}"), ("commandInstance", "Starts or stops an instance.")).fails(&[409]),
    new("delete", v0!("/deploy/{instance}"), ("removeInstance", "Takes an instance away.")).fails(&[409]),
    new("post", v0!("/publisher/x/{project}"), ("createPublisher", "Makes a publisher with a token."))
        .takes("NewPublisher").gives(201, "Publisher").fails(&[409]),
    new("get", v0!("/publisher/x/{project}"), ("publishersOf", "A project's publishers.")).gives(200, "Publishers"),
    REMOVE_PUBLISHER,
    new("get", v0!("/publisher/x/{project}/datalist"), ("listPublishers", "The same.")).gives(200, "Publishers"),
    new("post", v0!("/publisher/x/{project}/upsert"), ("upsertPublisher", "Makes a publisher, or names it anew."))
        .takes("NewPublisher").gives(201, "Publisher").fails(&[409]),
    new("post", v0!("/publisher/x/{project}/anonymous"), ("anonymousPublisher", "Takes events without a token."))
        .gives(201, "Publisher").fails(&[409]),
    new("put", v0!("/publisher/x/{project}/{publisher}"), ("updatePublisher", "Names a publisher anew."))
        .takes("NewPublisher"),
    new("get", v0!("/publisher/data/{publisher}"), ("showPublisher", "A publisher.")).gives(200, "Publisher"),
    new("delete", v0!("/publisher/data/{publisher}"), ("removePublisher", "Takes a publisher's token away.")),
    new("post", v0!("/strategy/x/{project}"), ("createStrategy", "Leads an event type to a function."))
        .takes("NewStrategy").gives(201, "Strategy").fails(&[409]),
    new("get", v0!("/strategy/x/{project}/datalist"), ("listStrategies", "A project's strategies."))
        .gives(200, "Strategies"),
    new("put", v0!("/strategy/{strategy}"), ("updateStrategy", "Changes a strategy."))
        .takes("StrategyInfo").fails(&[409]),
    new("get", v0!("/strategy/data/{strategy}"), ("showStrategy", "A strategy.")).gives(200, "Strategy"),
    new("delete", v0!("/strategy/data/{strategy}"), ("removeStrategy", "Takes a strategy away.")).fails(&[409]),
    new("post", v0!("/cronjob/{project}"), ("createCronJob", "Makes a schedule whose moments are events."))
        .takes("NewCronJob").gives(201, "CronJob").fails(&[409]),
    new("get", v0!("/cronjob/{project}"), ("listCronJobs", "A project's cron jobs.")).gives(200, "CronJobs"),
    new("delete", v0!("/cronjob/data/{cronjob}"), ("removeCronJob", "Takes a cron job away.")).fails(&[409]),
    EVENT,
    new("get", v0!("/openapi.json"), ("openapi", "This document.")).by(Access::Anybody).gives(200, "Anything"),
    new("post", "/message", ("postMessage", "The second generation: a message."))
        .by(Access::Publisher).takes("Message").gives(200, "MessageAnswer").fails(&[403, 404, 409, 504]),
    new("get", "/message/{message}", ("showMessage", "Where a message is.")).by(Access::Anybody).gives(200, "MessageStates"),
    new("post", "/v1/task", ("postTask", "The third generation: a task that its device has signed."))
        .by(Access::Anybody).takes("Task").gives(200, "TaskAnswer").fails(&[401, 403, 404, 409, 504]),
    new("get", "/v1/task/{task}", ("showTask", "Where a task is.")).by(Access::Anybody).gives(200, "TaskStates"),
    new("get", "/liveness", ("liveness", "The process runs.")).by(Access::Anybody).gives(200, "Anything"),
    new("get", "/version", ("version", "What it is.")).by(Access::Anybody).gives(200, "text"),
];
