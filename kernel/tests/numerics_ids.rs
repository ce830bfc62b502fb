//! The frozen specifications by their digests: whoever edits a `*.v1.md` changes the replay key of every receipt there is.

use forgemesh_kernel::job::Job;

#[test]
fn the_specifications_of_released_profiles_never_change() {
    let frozen = [
        ("mc", "insurance.v1", "{}", "2fda4a415efc81c4d0adc4baa443222f93f6e60f62c1da64905c4f893240c99e"),
        (
            "mc",
            "reserve.v1",
            r#"{"triangle":[[1,2,4],[2,5],[4]]}"#,
            "683fae8e7387b2c60bfec63006cbff926725b2629abfc3ed1b258d05e57e4bac",
        ),
        (
            "mc",
            "insurance.v1",
            r#"{"convergence":{"relative_half_width":0.01}}"#,
            "5f2beac46426b49fdb568c81a6d2910e392752258ccb579830b5862ca6852214",
        ),
        (
            "mc",
            "reserve.v1",
            r#"{"triangle":[[1,2,4],[2,5],[4]],"convergence":{"absolute_half_width":1}}"#,
            "97ab540470cc30f59ac3b56aea29ccca8f1e87fdcdf712a4f9989545924e24bf",
        ),
        ("diag", "mix.v1", "{}", "a9dec8eeaded7e24dee9aa0dbdf94158c996296ec5a9f32ebc58dc2c2b18568a"),
        ("diag", "noop.v1", "{}", "4d97f0566baae49cc5129ab3d2674e2c31a613ac76e89bd78692412b26916661"),
    ];
    for (name, profile, args, id) in frozen {
        let envelope =
            format!(r#"{{"op":{{"name":"{name}","version":1,"profile":"{profile}"}},"args":{args}}}"#);
        let (job, _) = Job::read(envelope.as_bytes()).unwrap();
        assert_eq!(job.numerics_id().to_string(), id, "{profile}");
    }
}
