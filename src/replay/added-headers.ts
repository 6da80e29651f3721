import { AppError } from '../core/errors.ts';
import { type HeaderPair, HOP_BY_HOP, MARKER_HEADER } from '../core/headers.ts';

/** Where secret values come from, so that none has to stand on a command line. */
export interface Secrets {
  /** Value of an environment variable, undefined where it is not set. */
  environment(name: string): string | undefined;
  /** Content of a file. Throws when it cannot be read. */
  readFile(path: string): string;
}

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Names that this tool or the HTTP client writes itself. */
const OURS: ReadonlySet<string> = new Set([...HOP_BY_HOP, 'host', 'content-length', 'expect', MARKER_HEADER]);

/**
 * Reads `Name: value`, where the value may be `env:VARIABLE` or `file:PATH`.
 * @throws AppError OPTION_INVALID; the message never repeats a value.
 */
export function parseAddedHeader(text: string, secrets: Secrets): HeaderPair {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(0, colon)).trim();
  if (colon < 0 || !HEADER_NAME.test(name)) {
    throw new AppError('OPTION_INVALID', '--header: expected "Name: value" with a valid header name', {
      hint: 'A value may come from elsewhere: "Authorization: env:STAGING_TOKEN" or "Authorization: file:/run/token".',
    });
  }
  if (OURS.has(name.toLowerCase())) {
    throw new AppError('OPTION_INVALID', `--header: ${name} is written by the replay itself`);
  }
  const value = resolvedValue(name, text.slice(colon + 1).trim(), secrets);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what a header must not hold
  if (/[\u0000-\u0008\u000a-\u001f\u007f]|[^\u0000-\u00ff]/.test(value)) {
    throw new AppError('OPTION_INVALID', `--header: the value of ${name} holds characters a header cannot`);
  }
  return [name, value];
}

/**
 * Reads the name of a header that no request is sent with, in lower case.
 * @throws AppError OPTION_INVALID
 */
export function parseRemovedHeader(text: string): string {
  const name = text.trim().toLowerCase();
  if (!HEADER_NAME.test(name)) {
    throw new AppError(
      'OPTION_INVALID',
      `--remove-header: ${JSON.stringify(text)} is not the name of a header`,
    );
  }
  if (OURS.has(name)) {
    throw new AppError('OPTION_INVALID', `--remove-header: ${name} is written by the replay itself`);
  }
  return name;
}

function resolvedValue(name: string, text: string, secrets: Secrets): string {
  if (text.startsWith('env:')) {
    const value = secrets.environment(text.slice(4));
    if (value === undefined) {
      throw new AppError('OPTION_INVALID', `--header: ${name} wants ${text}, which is not set`);
    }
    return value.trim();
  }
  if (text.startsWith('file:')) {
    try {
      return secrets.readFile(text.slice(5)).trim();
    } catch (cause) {
      throw new AppError('OPTION_INVALID', `--header: ${name} wants ${text}, which cannot be read`, {
        cause,
      });
    }
  }
  return text;
}
