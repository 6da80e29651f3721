import { AppError } from '../../core/errors.ts';
import type { CommandName } from '../command-table.ts';
import { variableOf } from './environment.ts';

interface Removal {
  readonly of: readonly CommandName[];
  /** What to type for each flag; null if it had no effect. */
  readonly flags: Readonly<Record<string, string | null>>;
}

const READERS = ['replay', 'capacity', 'profile', 'export'] as const;

/** Flags that were renamed, or became a part of another one. */
export const REMOVED: readonly Removal[] = [
  {
    of: READERS,
    flags: {
      '--recorder': '--filter recorder=ID',
      '--method': '--filter method=NAME',
      '--path': '--filter path=GLOB',
      '--status': '--filter status=STATUS',
      '--model': '--filter model=NAME',
      '--client-hash': '--filter client-hash=HASH',
      '--min-body-size': '--filter min-body-size=SIZE',
      '--max-body-size': '--filter max-body-size=SIZE',
      '--from': '--window FROM..',
      '--to': '--window ..TO',
      '--day': '--window DATE',
      '--peak': '--window peak=TIME',
      '--worst': '--window worst=TIME',
    },
  },
  {
    of: ['replay', 'capacity', 'export'],
    flags: {
      '--speed': '--multiplier M',
      '--jitter': '--scaling jitter=TIME',
      '--perturb': '--scaling perturb=PLACE',
      '--remove-header': '--header "NAME:"',
      '--map-path': '--rewrite path=FROM=TO',
      '--allow-production-host': '--production-host allow=NAME',
    },
  },
  {
    of: ['replay', 'capacity'],
    flags: {
      '--shift-time': '--rewrite time=POINTER',
      '--pin-output-length': '--rewrite output-length=limit',
      '--request-usage': '--rewrite usage',
      '--connect-timeout': '--timeout connect=TIME',
      '--first-byte-timeout': '--timeout first-byte=TIME',
      '--idle-timeout': '--timeout idle=TIME',
      '--drain-deadline': '--timeout drain=TIME',
      '--max-connection-age': '--connections max-age=TIME',
      '--max-in-flight-bytes': '--max-in-flight bytes=SIZE',
      '--ca': '--target-tls ca=FILE',
      '--insecure': '--target-tls insecure',
      '--compare-at-1x-bounds': '--compare-at-1x p50=FACTOR,status=SHARE,size=SHARE',
      '--monitor-query': '--monitor NAME=PROMQL',
      '--monitor-interval': '--monitor interval=TIME',
      '--monitor-header': '--header "monitor NAME: VALUE"',
      '--otlp-header': '--header "otlp NAME: VALUE"',
      '--otlp-histograms': '--otlp URL,histograms=explicit',
      '--trace-sample': '--otlp URL,traces=SHARE',
      '--telemetry-interval': '--otlp URL,interval=TIME',
      '--remote-write-header': '--header "remote-write NAME: VALUE"',
      '--open': '--serve open',
    },
  },
  {
    of: ['replay'],
    flags: {
      '--until-sure': '--confidence until-sure',
      '--compare-responses': '--check',
      '--response-tolerance': '--check rel=SHARE,abs=NUMBER,length=SHARE',
      '--response-ignore': '--check ignore=POINTER',
      '--start-at': '--shard I/N,start=TIME',
    },
  },
  {
    of: ['capacity'],
    flags: {
      '--max-multiplier': '--multiplier MAX',
      '--min-multiplier': '--multiplier MIN..MAX',
      '--replica-cost': '--replicas N,cost=AMOUNT',
      '--capacity': null,
    },
  },
  { of: ['replay', 'capacity', 'merge'], flags: { '--retain-history': '--history FILE,retain=WHICH' } },
  {
    of: ['record', 'mock', 'faults'],
    flags: {
      '--tls-cert': '--listen-tls cert=FILE,key=FILE',
      '--tls-key': '--listen-tls cert=FILE,key=FILE',
    },
  },
  {
    of: ['record', 'faults'],
    flags: {
      '--upstream-ca': '--target-tls ca=FILE',
      '--upstream-server-name': '--target-tls server-name=NAME',
      '--upstream-insecure': '--target-tls insecure',
    },
  },
  { of: ['report', 'compare', 'history'], flags: { '--md': '--markdown FILE' } },
  { of: ['inspect'], flags: { '--encryption-key-file': null } },
  { of: ['report'], flags: { '--verbose': null } },
  { of: ['faults'], flags: { '--upstream': '--target ADDRESS' } },
  {
    of: ['record'],
    flags: {
      '--max-request-body': '--bodies requests,max-request=SIZE',
      '--max-response-body': '--bodies all,max-response=SIZE',
      '--redact-header': '--redact header:NAME',
      '--redact-query': '--redact query:KEY',
      '--proxy-niceness': '--niceness proxy=N',
      '--recorder-niceness': '--niceness recorder=N',
      '--mirror-share': '--mirror URL,share=SHARE',
      '--mirror-header': '--header "mirror NAME: VALUE"',
      '--mirror-in-flight': '--mirror URL,in-flight=N',
      '--mirror-timeout': '--mirror URL,timeout=TIME',
      '--mirror-ca': '--mirror URL,ca=FILE',
      '--forwarded-headers': '--gateway forwarded-headers',
      '--websocket': '--gateway websocket',
      '--refuse-marked': '--gateway refuse-marked',
      '--upstream-reuse': '--gateway reuse=off',
      '--connect-timeout': '--timeout connect=TIME',
      '--first-byte-timeout': '--timeout first-byte=TIME',
      '--idle-timeout': '--timeout idle=TIME',
      '--total-timeout': '--timeout TIME',
    },
  },
];

/** The answer to a flag that a command no longer has; null for any other. */
export function insteadOf(command: string, flag: string): string | null {
  const removal = REMOVED.find(({ of, flags }) => of.some((each) => each === command) && flag in flags);
  if (removal === undefined) return null;
  const instead = removal.flags[flag];
  return instead == null ? 'It had no effect: leave it out.' : `It is now ${instead}.`;
}

/** A host may set these for its recorder. Then a replay goes without. */
const OF_RECORD: ReadonlySet<string> = new Set(['--drain-deadline']);

/** @throws AppError OPTION_INVALID for a variable of a flag that the command no longer has */
export function refuseRemovedVariables(command: string, environment: NodeJS.ProcessEnv): void {
  const flags = REMOVED.filter(({ of }) => of.some((each) => each === command)).flatMap((each) =>
    Object.keys(each.flags),
  );
  const stated = flags.find((flag) => !OF_RECORD.has(flag) && environment[variableOf(flag)]);
  if (stated === undefined) return;
  throw new AppError('OPTION_INVALID', `${variableOf(stated)}: ${command} has no ${stated}`, {
    hint: `${insteadOf(command, stated)} Unset the variable.`,
  });
}
