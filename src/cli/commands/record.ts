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
import type { ProbeAddress } from '../../proxy/control/admin-server.ts';
import { takePriority } from '../../proxy/control/priority.ts';
import { authorityOf, type Endpoint, formatEndpoint } from '../../proxy/net/endpoint.ts';
import { EXIT } from '../exit.ts';
import { loggerOf } from '../logger.ts';
import { addOptions, askedOf } from '../options.ts';
import { terminal } from '../terminal.ts';

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** The request to stop a recording, by a signal or an operator. A later signal asks to hurry. */
class StopRequest {
  /** Resolves with the source of the first request. */
  readonly asked: Promise<string>;
  #wasAsked = false;

  constructor(recording: { readonly drainAsked: Promise<void>; hurry(): void }) {
    // Other programs reload their files at SIGUSR2. Without a handler it would end us without a drain.
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
    await record({ ...options, plane }, asked.originOf('proxyNiceness') !== null, logger);
  });
}

/** @param asksPriority whether the user gave `--proxy-niceness` */
async function record(options: RecordOptions, asksPriority: boolean, logger: Logger): Promise<void> {
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
  const bound = await recording.start(stop.asked);
  if (bound.length > 0) {
    const { guard } = recording;
    takePriority(options.proxyNiceness, asksPriority, { logger, clock: systemClock, guard });
    logger.info(forwardingFields(options, bound, recording.probeAddress), 'forwarding');
  }
  const cause = await stop.asked;
  const { drainDelayMs: delayMs, drainDeadlineMs: deadlineMs } = options;
  logger.info({ cause, delayMs, deadlineMs }, 'draining');
  const { account, cut, turnedAway } = await recording.stop({ delayMs, deadlineMs });
  logger.info({ cut, turnedAway, ...account }, 'stopped');
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
