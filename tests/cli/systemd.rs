//! The units under systemd itself: a machine of their own, in which the printed steps are run as they stand.

use std::{
    fs,
    process::{Command, Stdio},
};

use pigello_mock::MADE_UP_VALUES;

use crate::{bao::skip, config::root};

/// Boots systemd as the first process of a namespace, whose disk is this machine's with a layer above that goes
/// away; runs the script there as a service, and returns what it printed. `None` where that cannot be done.
fn on_a_machine(script: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let program = env!("CARGO_BIN_EXE_pigello-gateway");
    fs::write(path("boot.sh"), BOOT).unwrap();
    fs::write(path("script.sh"), format!("{FUNCTIONS}\n{script}\necho THE END\n")).unwrap();
    for (name, value) in MADE_UP_VALUES {
        fs::write(path(name.key()), value).unwrap();
    }
    let booted = Command::new("sh")
        .args(["-eu", "-c", START, "start"])
        .args([folder.path(), program.as_ref(), &root().join("deploy/systemd")])
        .stdin(Stdio::null())
        .output();
    let told = fs::read_to_string(path("told")).unwrap_or_default();
    match booted {
        Ok(_) if told.ends_with("THE END\n") => Some(told),
        Ok(_) if path("booted").exists() => {
            panic!("{told}\n{}", fs::read_to_string(path("log")).unwrap_or_default())
        }
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            skip(&format!("systemd cannot be booted in a namespace here: {errors}"));
            None
        }
        Err(error) => {
            skip(&format!("systemd cannot be booted in a namespace here: {error}"));
            None
        }
    }
}

/// A control group of its own, because two machines may run at the same time, and the namespaces. Arguments: the
/// folder shared with the test, the program, and the folder of the units.
const START: &str = r#"
cgroups=$(findmnt --noheadings --output TARGET --types cgroup2 | head -n 1)
own=$cgroups$(sed -n 's/^0:://p' /proc/self/cgroup)/pigello-gateway-test-$$
mkdir "$own"
trap 'find "$own" -depth -type d -exec rmdir {} +' EXIT
(
  echo 0 >"$own/cgroup.procs"
  exec timeout --signal=KILL 60 unshare --mount --pid --fork --uts --ipc --net --cgroup --kill-child \
    sh -eu "$1/boot.sh" "$@"
)
"#;

/// With the same arguments.
const BOOT: &str = r#"
shared=$1 program=$2 units=$3
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sys sys
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tmpfs none run
mount -t tmpfs none tmp
mount -t tmpfs none mnt
mkdir mnt/shared mnt/bin mnt/units
mount --bind "$shared" mnt/shared
mount --bind "$units" mnt/units
touch mnt/bin/pigello-gateway
mount --bind "$program" mnt/bin/pigello-gateway
mount -t tmpfs none dev
mkdir dev/shm dev/mqueue dev/pts
mount -t devpts none dev/pts
mount -t tmpfs none dev/shm
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
ln -s pts/ptmx dev/ptmx
ip link set lo up
rm -rf etc/pigello-gateway usr/bin/pigello-gateway etc/systemd/system/pigello-gateway.*
# There is no journal here.
mkdir etc/systemd/system/pigello-gateway.service.d
cat >etc/systemd/system/pigello-gateway.service.d/log.conf <<'UNIT'
[Service]
StandardOutput=append:/mnt/shared/log
StandardError=append:/mnt/shared/log
UNIT
cat >etc/systemd/system/test.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=append:/mnt/shared/told
StandardError=append:/mnt/shared/told
Environment=PATH=/mnt/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ExecStartPre=/bin/touch /mnt/shared/booted
ExecStart=/bin/sh -eu /mnt/shared/script.sh
ExecStopPost=/bin/systemctl --no-block exit 0
UNIT
# What systemd mounts for a service reaches its other processes only so.
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd --system --unit=test.service --show-status=no
"#;

const FUNCTIONS: &str = r#"
PATH=/mnt/bin:$PATH
# The status of a call as a user, or 000 where the socket does not let them in.
call_as() {
  setpriv --reuid "$1" --regid "$1" --init-groups curl -s -o /dev/null -w '%{http_code}\n' \
    --unix-socket /run/pigello-gateway/gateway.sock \
    'http://localhost/accounts/users/customer/subtenant/list/?_page=1&_page_size=10' || true
}
"#;

/// The commands that `init` prints, in the order in which it prints them.
const STEPS: &str = r#"
pigello-gateway init --defaults --directory "$directory" --deploy systemd --upstream mock \
  --secret-from $source >/tmp/init
sed -n '/^Next:/,/^$/{s/^  \([^ ]\)/\1/p}' /tmp/init >/tmp/steps
while read -r step; do
  echo "+ $step"
  case $step in
    *mock-upstream*)
      eval "$step" >/tmp/mock 2>&1 &
      until [ -s /tmp/mock ]; do :; done ;;
    *) sh -euc "$step" ;;
  esac
done </tmp/steps
"#;

/// What every installation does.
const LIFE: &str = r"
systemctl is-active pigello-gateway.service
systemd-analyze verify /etc/systemd/system/pigello-gateway.service /etc/systemd/system/pigello-gateway.socket
systemctl show --value -p User pigello-gateway.service
useradd --uid 2002 --user-group --groups pigello-callers application
useradd --uid 2003 --user-group stranger
";

const RELOAD: &str = r#"
systemctl reload pigello-gateway.service
systemctl is-active pigello-gateway.service
cp /etc/pigello-gateway/gateway.toml /tmp/good
echo 'no-such-key = 1' >>/etc/pigello-gateway/gateway.toml
systemctl reload pigello-gateway.service 2>/dev/null && echo "the refused reload is a success"
echo "after a refused reload: $(systemctl is-active pigello-gateway.service) $(call_as application)"
cp /tmp/good /etc/pigello-gateway/gateway.toml
systemctl reload pigello-gateway.service
systemctl restart pigello-gateway.service
echo "after a restart: $(call_as application)"
systemctl stop pigello-gateway.service
systemctl show -p Result -p NRestarts pigello-gateway.service
"#;

#[test]
fn the_steps_that_init_prints_lead_to_a_service_that_serves() {
    for (source, directory, user) in [
        ("sealed", "/etc/pigello-gateway", "User=pigello-gateway"),
        ("directory", "/etc/pigello-gateway", "DynamicUser=yes"),
        ("directory", r#"/etc/pigello-gateway/a b%h$HOME"q\back"#, "DynamicUser=yes"),
    ] {
        let calls = r#"
            until [ "$(call_as application)" = 200 ]; do :; done
            echo "member: $(call_as application), other: $(call_as stranger)"
            grep -e '^User=' -e '^DynamicUser=' /etc/systemd/system/pigello-gateway.service
        "#;
        let reload =
            RELOAD.replace("/etc/pigello-gateway/gateway.toml", "\"$directory\"/gateway.toml");
        let script =
            format!("source={source}\ndirectory='{directory}'\n{STEPS}{LIFE}{calls}{reload}");
        let Some(told) = on_a_machine(&script) else { return };
        for part in [
            "\nactive\n",
            "\nmember: 200, other: 000\n",
            &format!("\n{user}\n"),
            "\nafter a refused reload: active 200\n",
            "\nafter a restart: 200\n",
            "\nResult=success\n",
            "\nNRestarts=0\n",
        ] {
            assert!(told.contains(part), "{part:?} in\n{told}");
        }
        assert!(!told.contains("the refused reload is a success"), "{told}");
        assert!(!told.contains("/etc/systemd/system/pigello-gateway.service:"), "{told}");
    }
}

/// The comment at the head of `deploy/systemd/pigello-gateway.service`, run as it stands there.
#[test]
fn the_steps_of_the_unit_in_deploy_lead_to_a_service_that_serves() {
    let script = format!(
        r#"
        cd /mnt/units
        # Somebody who types the seven values.
        EDITOR=/tmp/editor
        printf 'cp /mnt/shared/c*_* /mnt/shared/*_id "$(dirname "$1")"\n' >$EDITOR
        chmod 755 $EDITOR
        sed -n 's/^#   //p' pigello-gateway.service | sed -n '1,/^systemctl enable/p' >/tmp/steps
        while read -r step; do
          echo "+ $step"
          eval "$step"
        done </tmp/steps
        {LIFE}
        # A user that the configuration does not name is let in by the socket, and refused by the gateway.
        echo "member: $(call_as application), other: $(call_as stranger)"
        systemctl reload pigello-gateway.service
        systemctl stop pigello-gateway.service
        systemctl show -p Result -p NRestarts pigello-gateway.service
        "#
    );
    let Some(told) = on_a_machine(&script) else { return };
    for part in
        ["\nactive\n", "\nmember: 403, other: 000\n", "\nResult=success\n", "\nNRestarts=0\n"]
    {
        assert!(told.contains(part), "{part:?} in\n{told}");
    }
}
