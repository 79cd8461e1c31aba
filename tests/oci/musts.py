"""What the runtime specification (1.2) says a runtime must do, by its sections. The tables name the tests that check it: of this file, or of its
siblings where those check it anyway; a name without a test is a failure."""
import json
import os
import sys

from harness import eq, refuses

RUNTIME = {
    "State: ociVersion, id, status, pid, bundle, annotations": ["hooks_get_the_state_on_stdin", "run_detached_state_kill_delete", "annotations_show_in_the_state"],
    "State: creating, created, running, stopped": ["a_hook_may_ask_for_the_state", "create_start_delete", "pause_stops_the_guest_and_resume_lets_it_go_on"],
    "Lifecycle: config.json is read once": ["changes_of_the_config_after_create_have_no_effect"],
    "Lifecycle: a failing hook ends the creation, and the steps of deletion follow": ["a_failing_hook_fails_the_creation_and_leaves_nothing",
                                                                                    "a_failing_start_container_hook_fails_the_start"],
    "Lifecycle: poststop hooks that fail are a warning": ["a_failing_poststop_hook_is_a_warning"],
    "Errors: an operation that fails leaves the environment as if it had not been tried": ["a_failed_creation_leaves_no_cgroup", "bad_ids_and_commands"],
    "Operations, state: an id that is missing or unknown": ["bad_ids_and_commands", "an_id_must_be_given"],
    "Operations, create: an id in use; a bundle that is not there": ["an_id_in_use_is_refused_and_the_container_lives_on", "missing_bundle", "an_id_must_be_given"],
    "Operations, create: the program does not run yet": ["create_start_delete"],
    "Operations, start: of what is not created, without effect": ["start_of_what_is_not_created", "of_many_starts_one_wins"],
    "Operations, kill: of what neither is created nor runs, without effect": ["run_detached_state_kill_delete"],
    "Operations, delete: of what runs, without effect; what creation made goes, the rest stays": ["run_detached_state_kill_delete", "delete_leaves_what_is_not_ours"],
    "Operations, delete: the id may be used again": ["delete_leaves_what_is_not_ours"],
    "Hooks: in the order of the list": ["hooks_run_in_order_around_create_start_delete", "hooks_of_a_kind_run_in_their_order"],
    "Bundle: config.json in its root; root.path below it": ["config_missing_or_not_json", "no_rootfs", "the_bundle_may_be_named_from_anywhere"],
}
CONFIG = {
    "Specification version: SemVer 2": ["versions_of_the_spec"],
    "Root: path, readonly": ["readonly_root", "writable_root_writes_through", "no_rootfs"],
    "Mounts: in the listed order; types, options, binds": ["mounts_are_made_in_their_order", "bind_mounts_of_directories_and_files", "an_unknown_file_system"],
    "Process: terminal and consoleSize": ["run_with_the_callers_terminal", "create_with_a_console_socket", "console_size_without_a_terminal_is_ignored"],
    "Process: cwd is absolute": ["config_missing_or_not_json", "a_missing_cwd_is_made"],
    "Process: env, args": ["environment_cwd_hostname_and_user", "config_missing_or_not_json"],
    "POSIX process: rlimits, each type once": ["rlimits_and_umask", "limits_given_twice_or_unknown"],
    "Linux process: capabilities, noNewPrivileges, oomScoreAdj, scheduler, ioPriority": ["capabilities_are_the_specs", "priorities_and_personality", "no_new_privileges"],
    "User: uid, gid, umask, additionalGids": ["environment_cwd_hostname_and_user", "rlimits_and_umask"],
    "Hostname, domainname": ["environment_cwd_hostname_and_user", "domainname"],
    "POSIX hooks: time-outs, environment, absolute paths": ["a_hook_that_takes_too_long_is_killed", "hooks_get_their_arguments_and_nothing_of_our_environment", "bad_hooks_are_refused"],
    "Annotations: strings; unknown keys are no errors": ["annotations_show_in_the_state"],
    "Extensibility: unknown properties are ignored": ["unknown_properties_are_ignored"],
    "Valid values: invalid or unsupported ones are errors": ["bad_resources_are_refused", "what_is_not_supported_is_refused_by_name", "config_missing_or_not_json"],
}
LINUX = {
    "Default file systems and devices": ["devices_are_there", "output_to_dev_stdout_and_dev_stderr"],
    "Namespaces: types, each once, absolute paths of the right type": ["namespaces"],
    "User namespace mappings": ["a_config_maps_the_containers_ids", "a_broken_map_is_refused"],
    "Devices": ["devices"],
    "Control groups: cgroupsPath, memory, CPU, pids": ["the_sandbox_is_in_the_cgroup_of_its_path", "limits_are_written_as_runc_writes_them", "cpusets", "the_pids_limit_holds_in_the_guest",
                                                      "the_memory_limit_ends_what_takes_more"],
    "Sysctl": ["sysctls"],
    "Seccomp": ["seccomp_refuses_calls", "seccomp_kills", "seccomp_looks_at_arguments", "bad_seccomp_is_refused"],
    "Rootfs mount propagation": ["propagations_of_the_root"],
    "Masked paths, read-only paths: absolute": ["masked_and_readonly_paths", "paths_to_hide_are_absolute"],
    "Personality": ["priorities_and_personality"],
}


def known_tests():
    main = sys.modules["__main__"]
    return {n[5:] for m in [main, *main.MODULES] for n in vars(m) if n.startswith("test_")}


def test_every_section_has_its_tests(b):
    known = known_tests()
    missing = sorted({t for table in (RUNTIME, CONFIG, LINUX) for tests in table.values() for t in tests} - known)
    eq(missing, [])


def test_changes_of_the_config_after_create_have_no_effect(b):
    eq(b.sh("echo first; sleep 0.1").detached("c1", "create"), 0)
    b.sh("echo second")
    eq(b.cli("start", "c1")[0], 0)  # writes config.json anew
    b.wait_status("stopped")
    eq(b.output(), "first\n")
    b.cli("delete", "c1")


def test_an_id_must_be_given(b):
    for command in ("create", "state", "start", "kill", "delete"):
        refuses(b, "usage", command)


def test_start_of_what_is_not_created(b):
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    refuses(b, "cannot start an already running container", "start", "c1")
    eq(b.status(), "running")
    b.cli("kill", "c1", "KILL")
    b.wait_status("stopped")
    refuses(b, "cannot start a container that has stopped", "start", "c1")
    eq(b.status(), "stopped")
    b.cli("delete", "c1")


def test_delete_leaves_what_is_not_ours(b):
    for _ in range(2):
        eq(b.sh("echo kept > /kept").run()[0], 0)
        with open(os.path.join(b.rootfs, "kept")) as f:
            eq(f.read(), "kept\n")
    assert os.path.exists(os.path.join(b.path, "config.json"))


def test_hooks_of_a_kind_run_in_their_order(b):
    import hooks
    b.config["hooks"] = {"createRuntime": [hooks.hook(b, f"h{i}", f"echo {i} >> $log") for i in range(4)]}
    eq(b.args("true").run()[0], 0)
    eq(hooks.log(b).split(), ["0", "1", "2", "3"])


def test_the_bundle_may_be_named_from_anywhere(b):
    b.args("echo", "here").write()
    import subprocess
    p = subprocess.run(b.runtime + ["run", "--bundle", b.path, "c1"], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
    eq((p.returncode, p.stdout), (0, "here\n"))


def test_versions_of_the_spec(b):
    for version, good in (("1.0.0", True), ("1.2.0", True), ("1.1.0-rc.3", True), ("1.0.2+dev", True), ("2.0.0", False), ("1.0", False), ("one", False), ("1.0.0x", False)):
        b.config["ociVersion"] = version
        eq((version, b.args("true").run()[0]), (version, 0 if good else 1))


def test_mounts_are_made_in_their_order(b):
    b.config["mounts"] += [{"destination": "/a", "type": "tmpfs", "source": "outer"}, {"destination": "/a/b", "type": "tmpfs", "source": "inner"},
                           {"destination": "/a/b/c", "type": "tmpfs", "source": "innermost"}]
    eq(b.sh("grep -o '^[a-z]* /a[^ ]*' /proc/mounts").run()[1], "outer /a\ninner /a/b\ninnermost /a/b/c\n")


def test_console_size_without_a_terminal_is_ignored(b):
    b.config["process"]["consoleSize"] = {"height": 10, "width": 20}
    eq(b.args("echo", "fine").run(), (0, "fine\n", ""))


def test_limits_given_twice_or_unknown(b):
    for limits, pattern in (([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}] * 2, "RLIMIT_NOFILE twice"), ([{"type": "RLIMIT_MAGIC", "soft": 1, "hard": 2}], "unknown limit"),
                            ([{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 2}], "soft limit above")):
        b.config["process"]["rlimits"] = limits
        refuses(b, pattern, "run", "c1")


def test_no_new_privileges(b):
    b.config["process"]["noNewPrivileges"] = True
    eq(b.sh("grep NoNewPrivs /proc/self/status").run()[1].split(), ["NoNewPrivs:", "1"])


def test_domainname(b):
    b.config["domainname"] = "example.org"
    eq(b.sh("cat /proc/sys/kernel/domainname").run()[1], "example.org\n")


def test_unknown_properties_are_ignored(b):
    b.config["frobnicate"] = {"a": 1}
    b.config["process"]["frobnicate"] = True
    b.config["linux"]["frobnicate"] = []
    b.config["annotations"] = {"org.example.unknown": "x"}
    eq(b.args("echo", "fine").run(), (0, "fine\n", ""))


def test_propagations_of_the_root(b):
    for kind, shown in (("private", ""), ("rshared", "shared:"), ("rslave", ""), ("unbindable", "unbindable")):
        b.config["linux"]["rootfsPropagation"] = kind
        out = b.sh("grep ' / / ' /proc/self/mountinfo").run()[1]
        assert shown in out and (shown or "shared" not in out), (kind, out)
    b.config["linux"]["rootfsPropagation"] = "magic"
    refuses(b, "is unknown", "run", "c1")


def test_paths_to_hide_are_absolute(b):
    for key in ("maskedPaths", "readonlyPaths"):
        b.config["linux"] = {key: ["relative"]}
        refuses(b, f"linux.{key}: \"relative\" is not an absolute path", "run", "c1")


def test_state_is_one_json_object(b):
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    state = json.loads(b.cli("state", "c1")[1])
    eq(sorted(set(state) & {"ociVersion", "id", "status", "pid", "bundle"}), ["bundle", "id", "ociVersion", "pid", "status"])
    assert "internal" not in state
    b.cli("delete", "-f", "c1")
