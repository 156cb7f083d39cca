//! What `Origins::allows` costs: it runs for every request.

use std::alloc::System;

use http::Uri;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower_outbound::origin::{Origins, Verdict};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn asking_whether_a_request_may_carry_the_token_does_not_allocate() {
    let ours = Origins::only(["https://api.example.com", "https://[2001:db8::1]"]).unwrap();
    let asked = [
        ("https://API.example.com:443/v2?page=2", Verdict::Allowed),
        ("https://[2001:DB8:0::1]/", Verdict::Allowed),
        ("https://me@evil.test/", Verdict::Elsewhere),
        ("/v2", Verdict::Unknown),
    ]
    .map(|(uri, verdict)| (uri.parse::<Uri>().unwrap(), verdict));

    let region = Region::new(ALLOCATOR);
    let answers = asked.each_ref().map(|(uri, _)| ours.allows(uri));
    let change = region.change();

    assert_eq!(answers, asked.map(|(_, verdict)| verdict));
    assert_eq!(change.allocations, 0);
}
