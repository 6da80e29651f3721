import type { Command } from 'commander';
import { pino } from 'pino';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Logger } from '../core/ports.ts';
import { shownJsonText, shownText } from '../core/text.ts';
import { formatInstantUs } from '../core/units.ts';
import { rootOf, statedOf } from './options.ts';
import { type LogFormat, terminal } from './terminal.ts';

/** Receives finished log lines, each with its line end. */
interface LogDestination {
  write(line: string): unknown;
}

/** A person at a terminal reads words; a collector reads JSON. */
function defaultLogFormat(): LogFormat {
  return process.stderr.isTTY ? 'pretty' : 'json';
}

/** The logger of a command, in the format of `--log-format`. */
export function loggerOf(command: Command): Logger {
  const stated = statedOf(rootOf(command), 'logFormat')?.value as LogFormat | undefined;
  return createLogger(stated ?? defaultLogFormat());
}

/** Logs to stderr. */
export function createLogger(
  format: LogFormat,
  destination: LogDestination = standardError(),
  clock: Clock = systemClock,
): Logger {
  return pino(
    {
      base: null,
      messageKey: 'message',
      timestamp: () => `,"time":"${formatInstantUs(clock.epochUs()).slice(0, 23)}Z"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    {
      write: (line) => destination.write(format === 'json' ? shownJsonText(line) : `${prettyLine(line)}\n`),
    },
  );
}

/** Unwritten lines are kept for the next attempt, up to this size. */
const UNWRITTEN_BYTES = 64 * 1024;

/**
 * Writes to stderr synchronously, so that the last line before an exit is not lost. A progress line is cleared first.
 * If stderr is closed, such as with its terminal, the command continues without a log.
 */
function standardError(): LogDestination {
  const stream = pino.destination({ dest: 2, sync: true, maxLength: UNWRITTEN_BYTES });
  stream.on('error', () => undefined);
  return {
    write: (line) => {
      terminal.endProgress();
      return stream.write(line);
    },
  };
}

/** Formats a JSON log line: `15:40:12.345 warn  recorder restarted  attempt=2 reason="heartbeat stopped"`. */
function prettyLine(json: string): string {
  const { level, time, message, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${fieldText(value)}`);
  const words = `${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${String(message)}`;
  return shownText(pairs.length === 0 ? words : `${words} ${pairs.join('')}`);
}

function fieldText(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=]+$/.test(value)) return value;
  return JSON.stringify(value);
}
