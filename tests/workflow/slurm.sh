#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests: slurm.sh up|down FOLDER   (root, without systemd)
# Everything lies under FOLDER but three links in /etc/slurm: a job step looks for its configuration there.
set -euo pipefail
action=$1
folder=$(readlink -f "$2")
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

up() {
    if [ -e /etc/slurm/slurm.conf ] && [ ! -L /etc/slurm/slurm.conf ]; then
        echo "/etc/slurm/slurm.conf is a real cluster's; not touching it" >&2
        exit 2
    fi
    mkdir -p "$folder"/{run,log,state,spool,munge} /etc/slurm
    chmod 755 "$folder"
    chmod 700 "$folder/munge"
    dd if=/dev/urandom of="$folder/munge/munge.key" bs=128 count=1 status=none
    chmod 600 "$folder/munge/munge.key"
    local megabytes=$(($(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo) * 8 / 10))
    cat >"$folder/slurm.conf" <<CONF
ClusterName=marscf
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.sock
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/log/jobs.txt
MinJobAge=600
InactiveLimit=0
KillWait=20
Waittime=0
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc --all) RealMemory=$megabytes Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=512 State=UP
CONF
    # a GPU by name alone, so that `gpu` resources are counted
    echo "NodeName=$host Name=gpu File=/dev/null" >"$folder/gres.conf"
    printf 'CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n' >"$folder/cgroup.conf"
    for file in slurm.conf gres.conf cgroup.conf; do
        ln -sfn "$folder/$file" "/etc/slurm/$file"
    done
    munged --force --socket="$folder/run/munge.sock" --key-file="$folder/munge/munge.key" \
        --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed"
    slurmctld -f "$folder/slurm.conf" -c
    slurmd -f "$folder/slurm.conf" -c
    for _ in $(seq 60); do
        [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && return
        sleep 0.5
    done
    sinfo >&2
    tail -n 5 "$folder"/log/*.log >&2
    exit 1
}

down() {
    scancel --user="$(id -un)" 2>/dev/null || true
    sleep 1
    for daemon in slurmd slurmctld munged; do
        [ -f "$folder/run/$daemon.pid" ] && kill "$(cat "$folder/run/$daemon.pid")" 2>/dev/null || true
    done
    for file in slurm.conf gres.conf cgroup.conf; do
        [ "$(readlink "/etc/slurm/$file")" != "$folder/$file" ] || rm -f "/etc/slurm/$file"
    done
}

"$action"
