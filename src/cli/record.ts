import { Command, Option } from 'commander';
import { systemClock } from '../core/clock.ts';
import { LIMITS, SUPERVISION } from '../core/limits.ts';
import { formatBytes, parseBytes, parseDurationMs } from '../core/units.ts';
import type { BodyPolicy } from '../proxy/assembly/options.ts';
import { authorityOf, type Endpoint, formatEndpoint, parseEndpoint } from '../proxy/endpoint.ts';
import { Supervisor } from '../proxy/supervisor.ts';
import { entryPath } from './entry-url.ts';
import { loggerOf } from './logger.ts';
import type { RecorderSettings } from './recording.ts';
import { Sealer } from './sealing.ts';

interface RecordFlags {
  readonly target: string;
  readonly listen: string;
  readonly dir: string;
  readonly bodies: BodyPolicy['bodies'];
  readonly maxRequestBody: string;
  readonly maxDisk?: string;
  readonly drainDeadline: string;
}

/** What a recording does, every flag read. */
interface RecordOptions {
  readonly listen: Endpoint;
  readonly target: Endpoint;
  readonly recorder: RecorderSettings;
  readonly drainDeadlineMs: number;
}

export function recordCommand(): Command {
  return new Command('record')
    .description(
      'Forward traffic to a model server, byte for byte, and record it. Stop with SIGTERM or Ctrl-C.',
    )
    .requiredOption('--target <url>', 'the model server, such as http://127.0.0.1:8085')
    .option('--listen <address>', 'where clients connect', ':8080')
    .requiredOption('--dir <directory>', 'where the capture is kept')
    .addOption(
      new Option('--bodies <which>', 'bodies to keep')
        .choices(['requests', 'all', 'none'])
        .default('requests'),
    )
    .option(
      '--max-request-body <size>',
      'kept of a request body at most',
      formatBytes(LIMITS.requestBodyBytes),
    )
    .option(
      '--max-disk <size>',
      'all files of the capture together (default: 10 GiB, or half the free space if less)',
    )
    .option(
      '--drain-deadline <time>',
      'how long a stop waits for open connections',
      `${SUPERVISION.drainDeadlineMs / 1000}s`,
    )
    .action(async (flags: RecordFlags, command: Command) => {
      await record(readOptions(flags), command);
    });
}

function readOptions(flags: RecordFlags): RecordOptions {
  const target = parseEndpoint(flags.target, '--target');
  return {
    target,
    listen: parseEndpoint(flags.listen, '--listen', { anyPort: true }),
    drainDeadlineMs: parseDurationMs(flags.drainDeadline, '--drain-deadline'),
    recorder: {
      dir: flags.dir,
      target: authorityOf(target),
      policy: {
        bodies: flags.bodies,
        requestBodyBytes: parseBytes(flags.maxRequestBody, '--max-request-body'),
        responseBodyBytes: LIMITS.responseBodyBytes,
      },
      maxDiskBytes: flags.maxDisk === undefined ? null : parseBytes(flags.maxDisk, '--max-disk'),
    },
  };
}

async function record(options: RecordOptions, command: Command): Promise<void> {
  const logger = loggerOf(command);
  const sealer = new Sealer({ logger, onSealed: () => {} });
  const supervisor = new Supervisor<RecorderSettings>({
    forwarderEntry: entryPath('forwarder'),
    recorderEntry: entryPath('recorder'),
    forwarder: {
      pairs: [{ listen: options.listen, target: options.target }],
      reusePort: false,
      maxConnections: LIMITS.connections,
      refused: 'reset',
      tls: null,
      upstreamTls: null,
      acceptProxyProtocol: false,
      sendProxyProtocol: null,
    },
    recorder: options.recorder,
    seal: (files) => sealer.seal(files),
    logger,
    clock: systemClock,
  });
  const stopped = stopSignal(() => supervisor.hurry());
  const bound = await supervisor.start();
  const { dir, target, policy } = options.recorder;
  logger.info(
    { listen: bound.map(formatEndpoint).join(', '), target, dir, bodies: policy.bodies },
    'forwarding',
  );
  const signal = await stopped;
  logger.info({ signal, deadlineMs: options.drainDeadlineMs }, 'draining');
  sealer.stopWithin(SUPERVISION.sealMs);
  const { ledger, cut, turnedAway } = await supervisor.stop(options.drainDeadlineMs);
  logger.info({ cut, turnedAway, ...ledger }, 'stopped');
}

/** Resolves with the first SIGTERM or SIGINT; a further one asks to hurry. */
function stopSignal(hurry: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (asked) hurry();
        asked = true;
        resolve(signal);
      });
    }
  });
}
