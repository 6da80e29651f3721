import { getPriority } from 'node:os';
import { Command } from 'commander';
import { entryPath, VERSION } from '../../app/package.ts';
import {
  RECORD_OPTIONS,
  type RecordOptions,
  readRecordOptions,
  withinRoom,
} from '../../app/recording/record-options.ts';
import { Recording } from '../../app/recording/recording.ts';
import { systemClock } from '../../core/clock.ts';
import { estimateLines, estimateText } from '../../core/disk-estimate.ts';
import { reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { Logger } from '../../core/ports.ts';
import { readHostLimits } from '../../monitors/host.ts';
import { ProxyPriority } from '../../proxy/control/priority.ts';
import { authorityOf, formatEndpoint } from '../../proxy/net/endpoint.ts';
import { EXIT } from '../exit.ts';
import { loggerOf } from '../logger.ts';
import { addOptions, askedOf } from '../options.ts';
import { terminal } from '../terminal.ts';

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** What asks a recording for its end: a signal, or an operator. A signal after it asks to hurry. */
export class StopRequest {
  /** Resolves with what asked first. */
  readonly asked: Promise<string>;
  #wasAsked = false;

  constructor(recording: { readonly drainAsked: Promise<void>; hurry(): void }) {
    // Meant for others, who read their files anew at it: it would end us without a drain.
    process.on('SIGUSR2', () => undefined);
    const signalled = new Promise<string>((resolve) => {
      for (const signal of SIGNALS) {
        process.on(signal, () => {
          // A closing terminal may send SIGHUP twice, without the intent to hurry.
          if (this.#wasAsked && signal !== 'SIGHUP') recording.hurry();
          this.#wasAsked = true;
          resolve(signal);
        });
      }
    });
    this.asked = Promise.race([signalled, recording.drainAsked.then(() => 'drain')]);
    void this.asked.then(() => {
      this.#wasAsked = true;
    });
  }
}

/** Fewer than so many are worth a word, whatever was asked for. */
const FEW_CONNECTIONS = 1_000;

const COMMON = [
  ...(['target', 'listen', 'dir', 'mode', 'bodies'] as const),
  ...(['redact', 'redactPreset', 'sample', 'maxDisk', 'retain'] as const),
];

export function recordCommand(): Command {
  const command = new Command('record').description(
    'Forward traffic to a model server and record it. Stop with SIGTERM, Ctrl-C or reprise drain.',
  );
  return addOptions(command, RECORD_OPTIONS, COMMON).action(async () => {
    const asked = askedOf(command, RECORD_OPTIONS);
    const logger = loggerOf(command);
    const options = readRecordOptions(asked);
    const limits = readHostLimits();
    const plane = withinRoom(options.plane, limits);
    // The default limit is not an explicit request, so a small reduction needs no warning.
    const isFelt = asked.originOf('maxConnections') !== null || plane.maxConnections < FEW_CONNECTIONS;
    if (plane.maxConnections < options.plane.maxConnections && isFelt) {
      const room = { maxConnections: plane.maxConnections, openFiles: limits.openFiles };
      logger.warn(room, 'the limit of open files leaves no room for --max-connections; raise it (ulimit -n)');
    }
    takePriority(options.proxyNiceness, asked.originOf('proxyNiceness') !== null, logger);
    await record({ ...options, plane }, logger);
  });
}

/** How often it is looked how busy this process is. */
const PRIORITY_MS = 250;

/** @param isAsked else a niceness that the user started us with stays, and a refusal is expected of most systems */
function takePriority(niceness: number, isAsked: boolean, logger: Logger): void {
  if (!isAsked && getPriority() !== 0) return;
  try {
    const priority = new ProxyPriority(process.pid, niceness);
    let before = processorTime();
    const look = () => {
      const now = processorTime();
      priority.follow((now.takenNs - before.takenNs) / (now.atNs - before.atNs), now.atNs);
      before = now;
    };
    if (niceness < 0) setInterval(look, PRIORITY_MS).unref();
  } catch (error) {
    if (!isAsked) return;
    const hint = 'a niceness below 0 needs root, CAP_SYS_NICE or ulimit -e';
    logger.warn({ niceness, reason: reasonOf(error), hint }, 'the system refuses --proxy-niceness');
  }
}

function processorTime(): { readonly takenNs: number; readonly atNs: number } {
  const { user, system } = process.cpuUsage();
  return { takenNs: (user + system) * 1_000, atNs: systemClock.nowNs() };
}

async function record(options: RecordOptions, logger: Logger): Promise<void> {
  let asked = options.estimate;
  const recording = new Recording({
    recorderEntry: entryPath('recorder'),
    plane: options.plane,
    recorder: options.recorder,
    version: VERSION,
    probeListen: options.probeListen,
    recorderNiceness: options.recorderNiceness,
    failOpen: options.failOpen,
    estimated: (estimate) => {
      logger.info(estimate, estimateText(estimate));
      if (asked) terminal.print(...estimateLines(estimate));
      // Prints estimates until one for the quota is known.
      asked &&= estimate.quotaHoldsMs === null;
    },
    logger,
    clock: systemClock,
  });
  endOnFault(recording, logger);
  const stop = new StopRequest(recording);
  const bound = await recording.start();
  const probes = recording.probeAddress;
  const unanswered = options.probeListen === null ? 'off' : 'not yet';
  logger.info(
    {
      listen: bound.map(formatEndpoint).join(', '),
      target: options.recorder.targets.join(', '),
      mode: options.plane.mode,
      maxConnections: options.plane.maxConnections,
      probes: probes === null ? unanswered : authorityOf({ kind: 'tcp', tls: false, ...probes }),
      dir: options.recorder.dir,
      bodies: options.recorder.policy.bodies,
    },
    'forwarding',
  );
  const cause = await stop.asked;
  const { drainDelayMs: delayMs, drainDeadlineMs: deadlineMs } = options;
  logger.info({ cause, delayMs, deadlineMs }, 'draining');
  const { account, cut, turnedAway } = await recording.stop({ delayMs, deadlineMs });
  logger.info({ cut, turnedAway, ...account }, 'stopped');
}

/**
 * The last line of defence against an error of our own, which no message from either side may cause: what is under way
 * gets a moment, the account is written, and the supervisor (systemd, compose, the kubelet) starts another process.
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
