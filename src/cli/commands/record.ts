import { Command } from 'commander';
import { entryPath, VERSION } from '../../app/package.ts';
import {
  RECORD_OPTIONS,
  type RecordOptions,
  readRecordOptions,
  withinRoom,
} from '../../app/recording/record-options.ts';
import { Recording } from '../../app/recording/recording.ts';
import { freeListen, mustShowPorts, ServedCommand, withPlaces } from '../../app/recording/served-command.ts';
import { systemClock } from '../../core/clock.ts';
import { estimateLines, estimateText } from '../../core/disk-estimate.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { Asked } from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import type { Logger } from '../../core/ports.ts';
import { shownUrl } from '../../core/text.ts';
import { readHostLimits } from '../../monitors/host.ts';
import type { ProbeAddress } from '../../proxy/control/admin-server.ts';
import { takePriority } from '../../proxy/control/priority.ts';
import { authorityOf, type Endpoint, formatEndpoint, parseEndpoint } from '../../proxy/net/endpoint.ts';
import { mustBeFree } from '../../proxy/net/listen.ts';
import { EXIT } from '../exit.ts';
import { loggerOf } from '../logger.ts';
import { addOptions, askedOf } from '../options.ts';
import { onceEach } from '../signals.ts';
import { terminal } from '../terminal.ts';
import { looksLikeAddress } from '../usage.ts';

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** The request to stop a recording, by a signal or an operator, or because there is nothing left to record. */
class StopRequest {
  /** Resolves with the source of the first request. */
  readonly asked: Promise<string>;
  /** The signal that came first; null for none. */
  signal: NodeJS.Signals | null = null;
  /** Called for each later signal: it asks to hurry. */
  again: (signal: NodeJS.Signals) => void = () => undefined;
  #resolve: (cause: string) => void = () => undefined;
  #wasAsked = false;

  constructor() {
    this.asked = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    // Other programs reload their files at SIGUSR2. Without a handler it would end us without a drain.
    process.on('SIGUSR2', () => undefined);
    const onSignal = onceEach((signal) => {
      // A closing terminal may send SIGHUP twice, without the intent to hurry.
      if (this.#wasAsked && signal !== 'SIGHUP') this.again(signal);
      this.signal ??= signal;
      this.ask(signal);
    });
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }

  ask(cause: string): void {
    this.#wasAsked = true;
    this.#resolve(cause);
  }
}

/** A limit below this gets a warning, even if the user did not set it. */
const FEW_CONNECTIONS = 1_000;

const COMMON = [
  ...(['target', 'listen', 'dir', 'mode', 'bodies'] as const),
  ...(['redact', 'redactPreset', 'sample', 'maxDisk', 'retain'] as const),
];

export function recordCommand(): Command {
  const command = new Command('record').description(
    'Forward traffic to a model server and record it. Stop with SIGTERM, Ctrl-C or reprise drain.',
  );
  return addOptions(command, RECORD_OPTIONS, COMMON)
    .argument('[command...]', 'after --: the server to start, record and end with')
    .action(async (words: string[]) => {
      const asked = askedOf(command, RECORD_OPTIONS);
      const logger = loggerOf(command);
      assertCommand(words[0] ?? '');
      if (words.length > 0) await recordServed(words, asked, logger);
      else await record(asked, new StopRequest(), logger);
    });
}

/** @throws AppError OPTION_INVALID for an address where a command belongs */
function assertCommand(word: string): void {
  if (!looksLikeAddress(word)) return;
  const shown = shownUrl(word);
  throw new AppError('OPTION_INVALID', `${shown} is an address, not a command to start`, {
    hint: `Did you mean reprise record --target ${shown} --dir captures/today?`,
  });
}

/**
 * Starts a server and records it. The recording is sealed before the server ends, unless the server ends by itself. Its
 * exit status is ours.
 */
async function recordServed(words: readonly string[], asked: RecordAsked, logger: Logger): Promise<void> {
  const stated = {
    target: [asked.stated.target ?? []].flat().map((text) => parseEndpoint(String(text), '--target')),
    listens: asked.originOf('listen') !== null,
  };
  if (stated.target.length === 0) mustShowPorts();
  // Every other problem is found before anything is started.
  const unknown = {
    target: stated.target.length > 0 ? [] : [UNKNOWN],
    listen: stated.listens ? [] : [{ ...UNKNOWN, port: 0 }],
  };
  const { plane } = readRecordOptions(withPlaces(asked, unknown));
  if (stated.listens) for (const { listen } of plane.pairs) await mustBeFree(listen);
  const stop = new StopRequest();
  const served = await ServedCommand.start(words, { clock: systemClock });
  // However this process ends, it leaves no server behind.
  process.once('exit', () => served.pass('SIGTERM'));
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => served.pass(signal));
  void served.ended.then(() => stop.ask(COMMAND_ENDED));
  try {
    const target = await served.targets(stated.target, stop.asked);
    if (target !== null) {
      const listen = stated.listens ? [] : [await freeListen(target)];
      const { name, pid } = served;
      const fields = { pid, target: target.map(formatEndpoint).join(', ') };
      const where = listen.length === 0 ? '--listen' : formatEndpoint(listen[0] as Endpoint);
      logger.info(fields, `${name} listens; requests to ${where} are recorded`);
      await record(withPlaces(asked, { target, listen }), stop, logger);
    }
  } catch (thrown) {
    await served.end();
    throw thrown;
  }
  stop.again = (signal) => served.pass(signal);
  served.pass(stop.signal ?? 'SIGTERM');
  process.exitCode = await served.ended;
}

const COMMAND_ENDED = 'the command ended';
/** Stands for an address until that is known. */
const UNKNOWN: Endpoint = { kind: 'tcp', host: '127.0.0.1', port: 1, tls: false };
type RecordAsked = Asked<typeof RECORD_OPTIONS>;

async function record(asked: RecordAsked, stop: StopRequest, logger: Logger): Promise<void> {
  const options = readRecordOptions(asked);
  const plane = planeWithinRoom(options, asked, logger);
  let estimates = options.estimate;
  const recording = new Recording({
    recorderEntry: entryPath('recorder'),
    plane,
    ...picked(options, 'recorder', 'probeListen', 'recorderNiceness', 'failOpen'),
    version: VERSION,
    estimated: (estimate) => {
      logger.info(estimate, estimateText(estimate));
      if (estimates) terminal.print(...estimateLines(estimate));
      // Prints estimates until one for the quota is known.
      estimates &&= estimate.quotaHoldsMs === null;
    },
    logger,
    clock: systemClock,
  });
  endOnFault(recording, logger);
  stop.again = () => recording.hurry();
  void recording.drainAsked.then(() => stop.ask('drain'));
  const bound = await recording.start(stop.asked);
  if (bound.length > 0) {
    const { guard } = recording;
    const asksPriority = asked.originOf('niceness') !== null;
    takePriority(options.proxyNiceness, asksPriority, { logger, clock: systemClock, guard });
    logger.info(forwardingFields({ ...options, plane }, bound, recording.probeAddress), 'forwarding');
  }
  const cause = await stop.asked;
  const deadlineMs = options.drainDeadlineMs;
  // No load balancer needs to see that a server ends which is gone.
  const delayMs = cause === COMMAND_ENDED ? 0 : options.drainDelayMs;
  logger.info({ cause, delayMs, deadlineMs }, 'draining');
  const { account, cut, turnedAway } = await recording.stop({ delayMs, deadlineMs });
  logger.info({ cut, turnedAway, ...account }, 'stopped');
}

function planeWithinRoom(options: RecordOptions, asked: RecordAsked, logger: Logger): RecordOptions['plane'] {
  const limits = readHostLimits();
  const plane = withinRoom(options.plane, limits);
  // The default limit is not an explicit request, so a small reduction needs no warning.
  const isFelt = asked.originOf('maxConnections') !== null || plane.maxConnections < FEW_CONNECTIONS;
  if (plane.maxConnections < options.plane.maxConnections && isFelt) {
    const room = { maxConnections: plane.maxConnections, openFiles: limits.openFiles };
    logger.warn(room, 'the limit of open files leaves no room for --max-connections; raise it (ulimit -n)');
  }
  return plane;
}

function forwardingFields(
  { plane, recorder, probeListen }: RecordOptions,
  bound: readonly Endpoint[],
  probes: ProbeAddress | null,
): object {
  const unanswered = probeListen === null ? 'off' : 'not yet';
  return {
    listen: bound.map(formatEndpoint).join(', '),
    target: recorder.targets.join(', '),
    mode: plane.mode,
    maxConnections: plane.maxConnections,
    probes: probes === null ? unanswered : authorityOf({ kind: 'tcp', tls: false, ...probes }),
    dir: recorder.dir,
    bodies: recorder.policy.bodies,
  };
}

/**
 * Ends the process after an internal error. Open exchanges get a moment to end, and the account is written. Then the
 * supervisor (systemd, compose, the kubelet) starts another process. No message from a client or server may cause this.
 */
function endOnFault(recording: Recording, logger: Logger): void {
  let faulty = false;
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => {
    if (faulty) process.exit(EXIT.unexpected);
    faulty = true;
    const fields = { reason: reasonOf(error), stack: error.stack };
    logger.error(fields, 'internal error in the proxy; exiting');
    void recording
      .stop({ delayMs: 0, deadlineMs: SUPERVISION.faultDrainMs })
      .finally(() => process.exit(EXIT.unexpected));
  });
}
