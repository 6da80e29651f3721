import { readFileSync } from 'node:fs';
import { AppError, type Problems, reasonOf } from '../../core/errors.ts';
import { type HeaderPair, parseAddedHeader } from '../../core/headers.ts';
import { MIRROR } from '../../core/limits.ts';
import { list, type ResolvedOptions, text, value } from '../../core/options.ts';
import { parseCount, parseShare, parseTimeLimitMs } from '../../core/units.ts';
import type { Pair } from '../../proxy/data-plane.ts';
import { type Endpoint, formatEndpoint, isReachedAs, parseEndpoint } from '../../proxy/net/endpoint.ts';

/** A TCP address. */
type TcpEndpoint = Extract<Endpoint, { kind: 'tcp' }>;

export const MIRROR_OPTIONS = {
  mirror: text(
    '--mirror <url>',
    'second server that gets a copy of sampled requests, off the path of traffic',
  ),
  mirrorShare: value('--mirror-share <share>', 'mirror this share of the recorded sessions', parseShare, {
    default: '10%',
  }),
  mirrorHeader: list(
    '--mirror-header <header>',
    'header for the mirror: "Name: value", "Name: env:VARIABLE" or "Name: file:PATH"',
  ),
  mirrorInFlight: value(
    '--mirror-in-flight <n>',
    'most mirrored requests at once; others are dropped and counted',
    parseCount,
    { default: String(MIRROR.inFlight) },
  ),
  mirrorTimeout: value(
    '--mirror-timeout <time>',
    'give a mirrored request up after this time',
    parseTimeLimitMs,
    {
      default: `${MIRROR.timeoutMs / 1000}s`,
    },
  ),
  mirrorCa: text('--mirror-ca <file>', 'CA certificates (PEM) to verify an https mirror with'),
};

/** The settings of a mirror. Plain data, because it is sent to the recorder process, and only there. */
export interface MirrorSettings {
  readonly endpoint: TcpEndpoint;
  readonly share: number;
  readonly headers: readonly HeaderPair[];
  readonly inFlight: number;
  readonly timeoutMs: number;
  readonly caPem: string | null;
  /** Servers that never get mirrored requests: the recorded ones and this recorder's own addresses. */
  readonly targets: readonly Endpoint[];
  readonly listens: readonly Endpoint[];
}

/** The sources of secrets in headers. */
const SECRETS = {
  environment: (name: string) => process.env[name],
  readFile: (path: string) => readFileSync(path, 'utf8'),
};

/**
 * The settings of the mirror; null without one. Adds problems of its options.
 * @param targets all servers that traffic is forwarded to
 */
export function mirrorOf(
  flags: ResolvedOptions<typeof MIRROR_OPTIONS> & { readonly bodies: 'requests' | 'all' | 'none' },
  { pairs, targets }: { readonly pairs: readonly Pair[]; readonly targets: readonly Endpoint[] },
  isGiven: (flag: keyof typeof MIRROR_OPTIONS) => boolean,
  problems: Problems,
): MirrorSettings | null {
  if (flags.mirror === null) {
    const idle = (Object.keys(MIRROR_OPTIONS) as (keyof typeof MIRROR_OPTIONS)[]).some(isGiven);
    if (idle) problems.add('the --mirror- flags have no effect without --mirror', 'Give --mirror.');
    return null;
  }
  if (flags.bodies === 'none') {
    problems.add('--mirror has nothing to send with --bodies none', 'Use --bodies requests or all.');
  }
  const listens = pairs.map(({ listen }) => listen);
  const endpoint = problems.attempt(() => mirrorEndpoint(flags.mirror as string, targets, listens), null);
  const headers = flags.mirrorHeader.flatMap((header) =>
    problems.attempt<HeaderPair[]>(() => [parseAddedHeader(header, SECRETS, '--mirror-header')], []),
  );
  const caPem = problems.optional(flags.mirrorCa, certificatesIn);
  if (endpoint === null) return null;
  const { mirrorShare: share, mirrorInFlight: inFlight, mirrorTimeout: timeoutMs } = flags;
  return { endpoint, share, headers, inFlight, timeoutMs, caPem, targets, listens };
}

/** @throws AppError OPTION_INVALID for a target of this recording or its own address */
function mirrorEndpoint(
  stated: string,
  targets: readonly Endpoint[],
  listens: readonly Endpoint[],
): TcpEndpoint {
  const endpoint = parseEndpoint(stated, '--mirror');
  const refuse = (why: string) =>
    new AppError('OPTION_INVALID', `--mirror: ${formatEndpoint(endpoint)} ${why}`, {
      hint: 'Give the address of another server, such as http://candidate:8000.',
    });
  if (endpoint.kind === 'unix') throw refuse('is a unix socket');
  if (targets.some((target) => isReachedAs(target, endpoint))) throw refuse('is a --target');
  if (listens.some((listen) => isReachedAs(listen, endpoint)))
    throw refuse('is the address of --listen itself');
  return endpoint;
}

function certificatesIn(path: string): string {
  let pem: string;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AppError('OPTION_INVALID', `--mirror-ca ${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
  throw new AppError('OPTION_INVALID', `--mirror-ca ${path} holds no certificate (PEM)`);
}
