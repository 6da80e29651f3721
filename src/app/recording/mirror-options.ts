import { readFileSync } from 'node:fs';
import { AppError, type Problems, reasonOf } from '../../core/errors.ts';
import { addressedHeader, type HeaderPair, parseAddedHeader } from '../../core/headers.ts';
import { MIRROR } from '../../core/limits.ts';
import {
  fileName,
  list,
  part,
  partsOf,
  type ResolvedOptions,
  requiredPart,
  value,
} from '../../core/options.ts';
import { parseCount, parseShare, parseTimeLimitMs } from '../../core/units.ts';
import type { Pair } from '../../proxy/data-plane.ts';
import { type Endpoint, formatEndpoint, isReachedAs, parseEndpoint } from '../../proxy/net/endpoint.ts';

/** A TCP address. */
type TcpEndpoint = Extract<Endpoint, { kind: 'tcp' }>;

export const MIRROR_OPTIONS = {
  mirror: value(
    '--mirror <url|parts>',
    'second server that gets a copy of sampled requests, off the path of traffic: of share=10% of the recorded sessions, ' +
      `at most in-flight=${MIRROR.inFlight} together, each given up after timeout=${MIRROR.timeoutMs / 1000}s; ca=FILE: certificates (PEM) to verify it with`,
    partsOf(
      {
        url: requiredPart((url) => url),
        share: part(parseShare, '10%'),
        inFlight: part(parseCount, String(MIRROR.inFlight)),
        timeout: part(parseTimeLimitMs, `${MIRROR.timeoutMs / 1000}s`),
        ca: part(fileName),
      },
      'url',
    ),
  ),
  header: list(
    '--header <header>',
    'header for the mirror: "mirror Name: value", "mirror Name: env:VARIABLE" or "mirror Name: file:PATH"',
  ),
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
  flags: ResolvedOptions<typeof MIRROR_OPTIONS> & {
    readonly bodies: { readonly store: 'requests' | 'all' | 'none' };
  },
  { pairs, targets }: { readonly pairs: readonly Pair[]; readonly targets: readonly Endpoint[] },
  problems: Problems,
): MirrorSettings | null {
  const headers = flags.header.flatMap((each) => {
    const { to, text } = addressedHeader(each, ['mirror']);
    if (to === null) {
      problems.add(
        '--header: a recording changes no request',
        'For the mirror: --header "mirror Name: value".',
      );
      return [];
    }
    return problems.attempt<HeaderPair[]>(() => [parseAddedHeader(text, SECRETS)], []);
  });
  if (flags.mirror === null) {
    if (headers.length > 0) problems.add('--header "mirror …" has no effect without --mirror');
    return null;
  }
  if (flags.bodies.store === 'none') {
    problems.add('--mirror has nothing to send with --bodies none', 'Use --bodies requests or all.');
  }
  const { url, share, inFlight, timeout: timeoutMs, ca } = flags.mirror;
  const listens = pairs.map(({ listen }) => listen);
  const endpoint = problems.attempt(() => mirrorEndpoint(url, targets, listens), null);
  const caPem = problems.optional(ca, certificatesIn);
  if (endpoint === null) return null;
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
    throw new AppError('OPTION_INVALID', `--mirror ca ${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
  throw new AppError('OPTION_INVALID', `--mirror ca ${path} holds no certificate (PEM)`);
}
