use std::{collections::HashSet, time::Duration};

use serde_json::json;

use super::*;

#[tokio::test(start_paused = true)]
async fn users_are_listed_in_numbered_pages_that_link_each_other() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let mut next = Some("/api/v2/users".to_owned());
    let (mut ids, mut links) = (HashSet::new(), Vec::new());
    while let Some(target) = next {
        let page = bench.get(&token, &target).await.json();
        assert_eq!(
            (&page["total"], &page["pageCount"]),
            (&json!(60), &json!(3))
        );
        let users = page["entities"].as_array().unwrap().clone();
        ids.extend(
            users
                .iter()
                .map(|user| user["id"].as_str().unwrap().to_owned()),
        );
        next = page["nextUri"].as_str().map(str::to_owned);
        links.extend(next.clone());
    }
    assert_eq!(ids.len(), 60);
    assert_eq!(
        links,
        [
            "/api/v2/users?pageSize=25&pageNumber=2",
            "/api/v2/users?pageSize=25&pageNumber=3"
        ]
    );
    let inactive = bench
        .get(&token, "/api/v2/users?state=inactive&pageSize=4")
        .await
        .json();
    assert_eq!(inactive["total"], 6);
    assert_eq!(
        inactive["nextUri"],
        "/api/v2/users?pageSize=4&pageNumber=2&state=inactive"
    );
    for bad in ["pageSize=501", "pageSize=0", "pageNumber=x", "state=odd"] {
        let reply = bench.get(&token, &format!("/api/v2/users?{bad}")).await;
        assert_eq!(reply.code(), "invalid.query.param.value", "{bad}");
    }
    bench.cloud.configure(|knobs| knobs.absolute_links = true);
    let page = bench.get(&token, "/api/v2/routing/queues").await.json();
    let expected = "http://api.localhost/api/v2/routing/queues?pageSize=25&pageNumber=2";
    assert_eq!(page["nextUri"], expected);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_created_once_changed_by_version_and_deleted() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let ada = json!({"name": "Ada", "email": "ada@example.com"});
    let made = bench.call(&token, "POST", "/api/v2/users", &ada).await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["version"]),
        (200, &json!(1))
    );
    let again = bench.call(&token, "POST", "/api/v2/users", &ada).await;
    assert_eq!(
        (again.status.as_u16(), again.code().as_str()),
        (409, "general.conflict")
    );
    let names: Vec<_> = bench
        .cloud
        .users()
        .into_iter()
        .map(|user| user.name)
        .collect();
    assert_eq!(names, ["Ada"]);

    let target = format!("/api/v2/users/{}", made.json()["id"].as_str().unwrap());
    let change = json!({"name": "Ada L.", "version": 1});
    let changed = bench.call(&token, "PATCH", &target, &change).await;
    assert_eq!(
        (&changed.json()["version"], &changed.json()["name"]),
        (&2.into(), &"Ada L.".into())
    );
    assert_eq!(
        bench.call(&token, "PATCH", &target, &change).await.status,
        409
    );
    let taken = json!({"email": "agent00000@example.com", "version": 2});
    assert_eq!(
        bench.call(&token, "PATCH", &target, &taken).await.status,
        409
    );
    assert_eq!(bench.get(&token, &target).await.json()["name"], "Ada L.");
    assert_eq!(
        bench
            .call(&token, "DELETE", &target, &json!({}))
            .await
            .status,
        200
    );
    assert_eq!(bench.get(&token, &target).await.code(), "not.found");
    assert!(bench.cloud.users().is_empty());
    for bad in [
        json!({"name": "x"}),
        json!([]),
        json!({"name": "", "email": "x"}),
    ] {
        assert_eq!(
            bench
                .call(&token, "POST", "/api/v2/users", &bad)
                .await
                .status,
            400
        );
    }
    assert_eq!(
        bench.get(&token, "/api/v2/users/me").await.code(),
        "bad.request"
    );
}

#[tokio::test(start_paused = true)]
async fn turns_are_paged_by_links_whose_cursor_is_encoded() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let path = "/api/v2/analytics/botflows/f1/divisions/reportingturns";
    let (mut target, mut turns, mut pages) = (path.to_owned(), 0, 0);
    loop {
        let page = bench.get(&token, &target).await.json();
        turns += page["entities"].as_array().unwrap().len();
        pages += 1;
        match page["nextUri"].as_str() {
            Some(next) => next.clone_into(&mut target),
            None => break,
        }
        assert!(target.contains("?after=c%2F") && target.contains("%3D%3D&pageSize=50"));
    }
    assert_eq!((turns, pages), (120, 3));
    assert_eq!(
        bench.get(&token, &format!("{path}?after=x")).await.status,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn a_query_pages_by_its_body_and_has_a_ceiling() {
    let bench = Bench::in_memory(LoopbackCloud::builder().conversations(250));
    let token = bench.token().await;
    let query = async |body: Value| {
        let target = "/api/v2/analytics/conversations/details/query";
        bench.call(&token, "POST", target, &body).await
    };
    let mut ids = Vec::new();
    for number in 1.. {
        let reply = query(json!({"paging": {"pageSize": 100, "pageNumber": number}}))
            .await
            .json();
        assert_eq!(reply["totalHits"], 250);
        let Some(conversations) = reply["conversations"].as_array() else {
            break;
        };
        ids.extend(
            conversations
                .iter()
                .map(|one| one["conversationId"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(ids, bench.cloud.conversation_ids());
    let last = query(json!({"order": "desc", "orderBy": "conversationStart"}))
        .await
        .json();
    assert_eq!(
        last["conversations"][0]["conversationId"],
        ids[249].as_str()
    );
    assert_eq!(last["conversations"].as_array().unwrap().len(), 25);

    let halves = [
        "2026-01-01T00:00:00Z/2026-01-16T12:00:00.000Z",
        "2026-01-16T12:00:00Z/2027-01-01T00:00:00Z",
    ];
    let hits = [
        query(json!({"interval": halves[0]})).await,
        query(json!({"interval": halves[1]})).await,
    ];
    assert_eq!(
        hits.map(|reply| reply.json()["totalHits"].as_u64()),
        [Some(125), Some(125)]
    );

    for (body, code) in [
        (json!({"colour": "red"}), "invalid.property"),
        (json!({"interval": "yesterday"}), "bad.request"),
        (json!({"paging": {"pageSize": 100}}), "bad.request"),
        (
            json!({"paging": {"pageSize": 101, "pageNumber": 1}}),
            "bad.request",
        ),
    ] {
        assert_eq!(query(body.clone()).await.code(), code, "{body}");
    }
    let beyond = query(json!({"paging": {"pageSize": 100, "pageNumber": 1001}})).await;
    assert_eq!(
        beyond.json()["message"],
        "Pagination may not exceed 100000 results."
    );

    let one = format!("/api/v2/analytics/conversations/{}/details", ids[7]);
    assert_eq!(
        bench.get(&token, &one).await.json()["conversationId"],
        ids[7].as_str()
    );
    let none = "/api/v2/analytics/conversations/00000000-0000-4000-8000-000000000000/details";
    assert_eq!(bench.get(&token, none).await.code(), "not.found");
}

#[tokio::test(start_paused = true)]
async fn a_job_is_polled_until_it_is_fulfilled_and_then_read_by_cursor() {
    let bench = Bench::in_memory(LoopbackCloud::builder().conversations(250));
    let token = bench.token().await;
    let jobs = "/api/v2/analytics/conversations/details/jobs";
    let made = bench.call(&token, "POST", jobs, &json!({})).await;
    assert_eq!(made.status, 202);
    let job = format!("{jobs}/{}", made.json()["jobId"].as_str().unwrap());
    let results = format!("{job}/results");
    assert_eq!(bench.get(&token, &results).await.status, 400);
    for (status, state) in [
        (202, "QUEUED"),
        (202, "PENDING"),
        (200, "FULFILLED"),
        (200, "FULFILLED"),
    ] {
        let reply = bench.get(&token, &job).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["state"]),
            (status, &state.into())
        );
    }
    let (mut ids, mut target) = (Vec::new(), format!("{results}?pageSize=100"));
    loop {
        let page = bench.get(&token, &target).await.json();
        let conversations = page["conversations"].as_array().unwrap();
        ids.extend(
            conversations
                .iter()
                .map(|one| one["conversationId"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["cursor"].as_str() else {
            break;
        };
        let cursor: String = form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        target = format!("{results}?pageSize=100&cursor={cursor}");
    }
    assert_eq!(ids, bench.cloud.conversation_ids());
    assert_eq!(
        bench.call(&token, "DELETE", &job, &json!({})).await.status,
        204
    );
    assert_eq!(bench.get(&token, &job).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn too_many_whole_scim_users_cost_too_much_every_time() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let users = "/api/v2/scim/v2/users";
    for _ in 0..3 {
        let reply = bench.get(&token, &format!("{users}?count=26")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("retry-after")),
            (429, Some("1"))
        );
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let reply = bench
        .get(
            &token,
            &format!("{users}?count=50&attributes=id&startIndex=41"),
        )
        .await;
    assert_eq!(reply.header("content-type"), Some("application/scim+json"));
    let page = reply.json();
    let counts = ["totalResults", "startIndex", "itemsPerPage"].map(|name| page[name].as_u64());
    assert_eq!(counts, [Some(60), Some(41), Some(20)]);
    assert_eq!(page["Resources"].as_array().unwrap().len(), 20);
    let missing = bench.get(&token, &format!("{users}/x")).await;
    assert_eq!(
        (missing.status.as_u16(), &missing.json()["status"]),
        (404, &"404".into())
    );
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_makes_one_evaluation_out_of_two() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let evaluate = async |key: Option<&str>| {
        let request = bench.request(
            &token,
            "POST",
            "/api/v2/quality/conversations/c1/evaluations",
        );
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        bench
            .send(request.body(Full::from("{}")).unwrap())
            .await
            .unwrap()
    };
    let key = Some("5f0c954e-3c43-4d1b-9e0f-0b8c9f7e2a11");
    let (first, second) = (evaluate(key).await, evaluate(key).await);
    assert_eq!((first.status.as_u16(), first.json()), (200, second.json()));
    assert_eq!(bench.cloud.evaluations().len(), 1);
    assert_eq!(evaluate(Some("not a uuid")).await.status, 400);
    assert_ne!(
        evaluate(None).await.json()["id"],
        evaluate(None).await.json()["id"]
    );
    assert_eq!(bench.cloud.evaluations().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn limits_and_the_page_of_the_token_can_be_read() {
    let bench = Bench::in_memory(LoopbackCloud::builder());
    let token = bench.token().await;
    let limits = "/api/v2/organizations/limits/namespaces";
    let reply = bench
        .get(&token, &format!("{limits}/platform.api"))
        .await
        .json();
    let expected = json!({
        "key": "client.credentials.token.rate.per.minute",
        "namespace": "platform.api",
        "value": 300,
    });
    assert_eq!(reply["entities"][0], expected);
    assert_eq!(
        bench.get(&token, &format!("{limits}/other")).await.status,
        404
    );
    let me = bench.get(&token, "/api/v2/tokens/me").await.json();
    assert_eq!(me["OAuthClient"]["id"], CLIENT_ID);
    let head = bench
        .call(&token, "HEAD", "/api/v2/tokens/me", &().into())
        .await;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0));
    assert_eq!(
        bench.get(&token, "/api/v2/nothing").await.code(),
        "not.found"
    );
}
