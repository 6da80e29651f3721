import { Command } from 'commander';
import { VERSION } from '../app/version.ts';
import { entryPath } from '../app/workers.ts';
import { systemClock } from '../core/clock.ts';
import { type DiskEstimate, estimateLines, estimateText } from '../core/disk-estimate.ts';
import { reasonOf } from '../core/errors.ts';
import { SUPERVISION } from '../core/limits.ts';
import type { Logger } from '../core/ports.ts';
import { readHostLimits } from '../monitors/host-limits.ts';
import { authorityOf, formatEndpoint } from '../proxy/endpoint.ts';
import { Supervisor } from '../proxy/supervisor.ts';
import { withinRoom } from './connection-room.ts';
import { addOptions } from './flags.ts';
import { loggerOf } from './logger.ts';
import { askedOf } from './options.ts';
import { RECORD_OPTIONS } from './record-flags.ts';
import { type RecordOptions, readRecordOptions } from './record-options.ts';
import type { RecorderSettings } from './recording.ts';
import { SealHook } from './seal-hook.ts';
import { Sealer } from './sealing.ts';
import { StopRequest } from './stop-request.ts';
import { terminal } from './terminal.ts';

/** Fewer than so many are worth a word, whatever was asked for. */
const FEW_CONNECTIONS = 1_000;

export function recordCommand(): Command {
  const command = new Command('record').description(
    'Forward traffic to a model server and record it. Stop with SIGTERM, Ctrl-C or reprise drain.',
  );
  return addOptions(command, RECORD_OPTIONS).action(async () => {
    const asked = askedOf(command, RECORD_OPTIONS);
    const logger = loggerOf(command);
    const options = readRecordOptions(asked);
    const limits = readHostLimits();
    const plane = withinRoom(options.plane, limits);
    // Of the default nobody said that they need so many.
    const isFelt = asked.originOf('maxConnections') !== null || plane.maxConnections < FEW_CONNECTIONS;
    if (plane.maxConnections < options.plane.maxConnections && isFelt) {
      const room = { maxConnections: plane.maxConnections, openFiles: limits.openFiles };
      logger.warn(room, 'the limit of open files leaves no room for --max-connections; raise it (ulimit -n)');
    }
    await record({ ...options, plane }, logger);
  });
}

async function record(options: RecordOptions, logger: Logger): Promise<void> {
  const hook = options.onSeal === null ? null : new SealHook({ command: options.onSeal, logger });
  const sealer = new Sealer({ logger, onSealed: (file) => hook?.handOver(file) });
  const supervisor = new Supervisor<RecorderSettings>({
    forwarderEntry: entryPath('forwarder'),
    recorderEntry: entryPath('recorder'),
    forwarder: options.plane,
    forwarders: options.forwarders,
    recorder: options.recorder,
    directory: options.recorder.dir,
    version: VERSION,
    probeListen: options.probeListen,
    captureReady: (directory) => void hook?.resume(directory),
    estimated: (estimate) => tellEstimate(estimate),
    sealer,
    settleSealed: async () => hook?.settle(SUPERVISION.sealHookMs),
    logger,
    clock: systemClock,
  });
  let asked = options.estimate;
  const tellEstimate = (estimate: DiskEstimate) => {
    logger.info(estimate, estimateText(estimate));
    if (asked) terminal.print(...estimateLines(estimate));
    // Whoever asked is told until there is something to tell.
    asked &&= estimate.quotaHoldsMs === null;
  };
  const stop = new StopRequest(supervisor);
  const bound = await supervisor.start().catch((error: unknown) => {
    if (stop.signal === null) throw error;
    // A signal of the terminal is every process's of ours: what it ended could only fail to start.
    process.exitCode = stop.exitStatus;
    logger.info({ cause: stop.signal, reason: reasonOf(error) }, 'stopped before anything was forwarded');
    return null;
  });
  if (bound === null) return;
  const probes = supervisor.probeAddress;
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
  const { ledger, cut, turnedAway } = await supervisor.stop({ delayMs, deadlineMs });
  logger.info({ cut, turnedAway, ...ledger }, 'stopped');
}
