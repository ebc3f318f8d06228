#!/usr/bin/env bash
# One Apache Kafka broker (KRaft, broker+controller in one process) on loopback, without Docker.
#   kafka-local.sh fetch | start | stop | status | run | env
# Settings (environment):
#   KAFKA_VERSION 4.1.1   KAFKA_PORT 9092   KAFKA_CONTROLLER_PORT port+1   KAFKA_DIR ./run (data, logs, pid)
#   KAFKA_LIBS ./libs-$KAFKA_VERSION   KAFKA_HEAP "-Xms128m -Xmx512m"   KAFKA_FSYNC 0|1 (fsync every append)
#   KAFKA_MORE (a file with broker settings that go before those below: TLS, SASL)
#   KAFKA_WAIT_S 60       JAVA_HOME (else java on PATH; JDK/JRE 17+)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KAFKA_VERSION=${KAFKA_VERSION:-4.1.1}
KAFKA_PORT=${KAFKA_PORT:-9092}
KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-$((KAFKA_PORT + 1))}
KAFKA_DIR=${KAFKA_DIR:-$here/run}
KAFKA_LIBS=${KAFKA_LIBS:-$here/libs-$KAFKA_VERSION}
KAFKA_HEAP=${KAFKA_HEAP:--Xms128m -Xmx512m}
KAFKA_FSYNC=${KAFKA_FSYNC:-0}
KAFKA_WAIT_S=${KAFKA_WAIT_S:-60}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
data=$KAFKA_DIR/data logs=$KAFKA_DIR/logs conf=$KAFKA_DIR/server.properties pidf=$KAFKA_DIR/kafka.pid out=$KAFKA_DIR/logs/console.log

die() { echo "kafka-local: $*" >&2; exit 1; }
alive() { # running, and not a killed process that nobody has reaped yet
  [[ -s $pidf ]] && kill -0 "$(cat "$pidf")" 2>/dev/null && [[ $(ps -o stat= -p "$(cat "$pidf")" 2>/dev/null) != Z* ]]
}
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

check_java() {
  local v; v=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1) || true
  [[ -n $v ]] || die "no java found (set JAVA_HOME)"
  (( v >= 17 )) || die "Kafka 4.x needs Java 17+, found $v"
}

fetch() {
  command -v mvn >/dev/null || die "mvn not found"
  (cd "$here" && mvn -B -q -Dkafka.version="$KAFKA_VERSION" -Dkafka.libs="$KAFKA_LIBS" dependency:copy-dependencies)
  check_libs
  echo "$(find "$KAFKA_LIBS" -name '*.jar' | wc -l) jars in $KAFKA_LIBS"
}

check_libs() {
  local j
  for j in kafka_2.13 kafka-clients kafka-server kafka-storage kafka-raft kafka-metadata kafka-group-coordinator \
           scala-library argparse4j jopt-simple metrics-core slf4j-api log4j-core log4j-slf4j-impl; do
    compgen -G "$KAFKA_LIBS/$j-*.jar" >/dev/null || die "$j is missing from $KAFKA_LIBS (run: $0 fetch)"
  done
}

write_conf() {
  mkdir -p "$data" "$logs"
  cat >"$conf" <<P
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$KAFKA_CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$data
# one node: every internal topic has one replica
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# the application creates its topics, with their own retention
auto.create.topics.enable=false
num.partitions=1
log.retention.ms=-1
# the largest records are dead letters of 32 MiB (shared/topics.py), one to a batch; topics say their own limits
message.max.bytes=41943040
replica.fetch.max.bytes=41943040
socket.request.max.bytes=104857600
# a killed broker may register again after this long (9 s by default)
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
# small machine, quick start
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=8388608
group.initial.rebalance.delay.ms=0
P
  # one replica means the page cache is the only copy: fsync each append where a power cut must lose nothing
  if [[ $KAFKA_FSYNC == 1 ]]; then echo "log.flush.interval.messages=1" >>"$conf"; fi
  if [[ -n ${KAFKA_MORE:-} ]]; then cat "$KAFKA_MORE" >>"$conf"; fi
  cat >"$KAFKA_DIR/log4j2.properties" <<'P'
status=error
name=kafka-local
rootLogger.level=info
rootLogger.appenderRef.o.ref=OUT
appender.o.type=Console
appender.o.name=OUT
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=[%d] %p %m (%c)%n
P
}

cluster_id() { # 16 random bytes in URL-safe base64, not starting with '-'
  local id
  while :; do
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')
    [[ $id == -* ]] || { echo "$id"; return; }
  done
}

jvm() { # class args...
  # shellcheck disable=SC2086
  exec "$java" $KAFKA_HEAP -XX:+UseG1GC -Djava.awt.headless=true -Dkafka.logs.dir="$logs" \
    -Dlog4j2.configurationFile="file:$KAFKA_DIR/log4j2.properties" -cp "$KAFKA_LIBS/*" "$@"
}

prepare() {
  check_java; check_libs; write_conf
  if [[ ! -f $data/meta.properties ]]; then
    (jvm kafka.tools.StorageTool format --standalone --cluster-id "$(cluster_id)" --config "$conf") >"$logs/format.log" 2>&1 \
      || { cat "$logs/format.log" >&2; die "format failed"; }
  fi
}

start() {
  alive && { echo "already running, pid $(cat "$pidf")"; return; }
  for _ in $(seq 10); do port_open "$KAFKA_PORT" || break; sleep 0.3; done  # a killed broker lets go of it a moment later
  port_open "$KAFKA_PORT" && die "port $KAFKA_PORT is taken"
  prepare
  (jvm kafka.Kafka "$conf") >"$out" 2>&1 </dev/null &
  echo $! >"$pidf"
  local end=$((SECONDS + KAFKA_WAIT_S))
  until port_open "$KAFKA_PORT" && port_open "$KAFKA_CONTROLLER_PORT"; do
    alive || { tail -n 30 "$out" >&2; die "the broker ended while starting (log: $out)"; }
    (( SECONDS < end )) || { tail -n 30 "$out" >&2; die "not up after ${KAFKA_WAIT_S}s (log: $out)"; }
    sleep 0.3
  done
  echo "127.0.0.1:$KAFKA_PORT pid $(cat "$pidf")"
}

stop() { # SIGTERM: clean shutdown, logs flushed
  alive || { rm -f "$pidf"; echo "not running"; return; }
  local p; p=$(cat "$pidf"); kill -TERM "$p"
  for _ in $(seq 100); do alive || { rm -f "$pidf"; echo stopped; return; }; sleep 0.3; done
  kill -KILL "$p"; rm -f "$pidf"; echo "killed after 30 s"
}

case ${1:-} in
  fetch) fetch ;;
  start) start ;;
  stop) stop ;;
  run) prepare; jvm kafka.Kafka "$conf" ;;
  status) if alive; then echo "running, pid $(cat "$pidf"), 127.0.0.1:$KAFKA_PORT"; else echo "not running"; exit 1; fi ;;
  env) echo "KAFKA_BOOTSTRAP=127.0.0.1:$KAFKA_PORT" ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
