import { readFileSync, statSync } from 'node:fs';
import { buildProfile, type ProfileContext } from '../analysis/profile/build-profile.ts';
import { LinkStatistics } from '../analysis/profile/links.ts';
import { PayloadStatistics } from '../analysis/profile/payloads.ts';
import { ReuseStatistics } from '../analysis/profile/prompt-reuse.ts';
import { shareable } from '../analysis/profile/share.ts';
import { ProfileStatistics } from '../analysis/profile/statistics.ts';
import { AppError, Problems, reasonOf } from '../core/errors.ts';
import {
  type Asked,
  isOnCommandLine,
  longNamesOf,
  readOptions,
  text,
  textsOf,
  toggle,
  value,
} from '../core/options.ts';
import { picked } from '../core/picked.ts';
import type { TimeRange } from '../core/ports.ts';
import { parseCount, percent, refused } from '../core/units.ts';
import { type ProfileDocument, profileSchema } from '../documents/profile.ts';
import { describeFilters } from '../documents/replay-plan.ts';
import { type RowFilter, rowFilterOf } from '../replay/filter.ts';
import {
  type Filters,
  filtersOf,
  selectionOptions,
  stretchOptions,
  type WindowRequest,
  windowRequestOf,
} from '../replay/options/window-options.ts';
import type { CaptureOverview } from '../replay/window/capture.ts';
import { Timeline } from '../replay/window/playback.ts';
import { type CaptureSlice, sliceOf } from '../replay/window/window.ts';
import { encryptionKeyOf, encryptionKeyOption, type OpenedCapture, openForReplay } from './open-capture.ts';
import { documentFromThread } from './package.ts';

export const PROFILE_OPTIONS = {
  document: text('--document <file>', 'show this profile document in place of a capture'),
  omitNames: toggle('--omit-names', 'leave out names that could identify clients'),
  payloadSample: value(
    '--payload-sample <n>',
    'read at most this many payloads, evenly spread; 0 for none, or all',
    parseSample,
    { default: '20000' },
  ),
  encryptionKeyFile: encryptionKeyOption(
    'file with the key of an encrypted capture, to look into its payloads',
  ),
  ...stretchOptions('profile'),
  ...selectionOptions('profile'),
};

/** The resolved options of a profile. Plain data, because it is sent to a thread. */
interface ProfileOptions {
  readonly window: WindowRequest;
  readonly timeZone: string;
  readonly filters: Filters;
  readonly omitNames: boolean;
  /** Most payloads to inspect, evenly spread over the window; null for all. */
  readonly payloadSample: number | null;
  /** The file's name instead of the key itself, because the key is not sent between threads. Null without a key. */
  readonly encryptionKeyFile: string | null;
}

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveProfileOptions(
  asked: Asked<typeof PROFILE_OPTIONS>,
  problems = new Problems(),
): ProfileOptions {
  const read = readOptions(PROFILE_OPTIONS, asked, problems);
  const options = {
    window: windowRequestOf(read, problems),
    timeZone: read.tz,
    filters: filtersOf(read, problems),
    omitNames: read.omitNames,
    payloadSample: read.payloadSample,
    encryptionKeyFile: read.encryptionKeyFile,
  };
  problems.throwIfAny();
  return options;
}

/**
 * The profile of a capture, or the document that `--document` names.
 * @throws AppError OPTION_INVALID if both or neither are given, or if a flag would change the selection of a finished
 *   document
 */
export async function profileNamed(
  directory: string | undefined,
  asked: Asked<typeof PROFILE_OPTIONS>,
  options: ProfileOptions,
): Promise<ProfileDocument> {
  const { document } = readOptions(PROFILE_OPTIONS, asked, new Problems());
  if ((directory === undefined) === (document === null)) {
    throw new AppError('OPTION_INVALID', 'profile takes a capture or --document FILE, and one of both', {
      hint: 'Such as: reprise profile captures/today, or reprise profile --document profile.json.',
    });
  }
  if (directory !== undefined) return await profileInThread({ directory, options });
  const chosen = OF_CAPTURES.filter((key) => isOnCommandLine(asked, key));
  if (chosen.length > 0) {
    const flags = chosen.map((key) => longNamesOf(textsOf(PROFILE_OPTIONS[key]).flags ?? '')[0]).join(', ');
    throw new AppError('OPTION_INVALID', `${flags} cannot choose from a document`, {
      hint: 'Choose where the document is made, or give the capture.',
    });
  }
  const read = readProfile(document ?? '');
  return options.omitNames ? shareable(read) : read;
}

const OF_CAPTURES = (Object.keys(PROFILE_OPTIONS) as (keyof typeof PROFILE_OPTIONS)[]).filter(
  (key) => key !== 'document' && key !== 'omitNames',
);

/** Larger files are refused. A profile of two weeks has some hundred kilobytes. */
const MAX_PROFILE_BYTES = 64 * 1024 * 1024;

/**
 * Reads a profile written by `profile --json` or by a job of `deploy/spark`. @throws AppError INPUT_INVALID,
 * SCHEMA_TOO_NEW
 */
export function readProfile(name: string): ProfileDocument {
  const refuse = (reason: string, cause?: unknown): AppError =>
    new AppError('INPUT_INVALID', `${name} is not a profile: ${reason}`, {
      hint: 'Give a file written by profile --json, or the directory of a run or a capture.',
      cause,
    });
  let document: Partial<ProfileDocument> | null;
  try {
    if (statSync(name).size > MAX_PROFILE_BYTES) throw refuse('it is too large for a profile');
    document = JSON.parse(
      readFileSync(name, 'utf8').replace(/^\uFEFF/, ''),
    ) as Partial<ProfileDocument> | null;
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw refuse(reasonOf(cause), cause);
  }
  if (document?.kind !== 'profile') throw refuse('it is another document');
  if (document.schemaVersion !== 1) {
    throw new AppError(
      'SCHEMA_TOO_NEW',
      `${name} is a profile of schema version ${String(document.schemaVersion)}`,
      {
        hint: 'This version of reprise reads version 1. Use the version that wrote the file, or a later one.',
      },
    );
  }
  const parsed = profileSchema.safeParse(document);
  if (!parsed.success)
    throw refuse(`${parsed.error.issues[0]?.path.join('.') ?? ''} is not as a profile has it`);
  return document as ProfileDocument;
}

/** Parses the number of payloads to inspect; null for all. */
function parseSample(text: string, what: string): number | null {
  const trimmed = text.trim();
  if (trimmed === 'all') return null;
  if (trimmed === '0') return 0;
  if (/^\d+$/.test(trimmed)) return parseCount(trimmed, what);
  throw refused(what, text, 'is not a number of payloads', 'Give a whole number, 0 for none, or all.');
}

/** A request for a profile. Plain data, because it is sent to a thread. */
export interface ProfileRequest {
  /** As the user named it. */
  readonly directory: string;
  readonly options: ProfileOptions;
}

/** Profiles a capture in a thread with a small heap. @throws AppError as `profileCapture` */
export function profileInThread(request: ProfileRequest): Promise<ProfileDocument> {
  return documentFromThread<ProfileDocument>('profiler', request);
}

/**
 * Reads the window once, in order, with constant memory.
 * @throws AppError CAPTURE_EMPTY for a window without exchanges; CAPTURE_NOT_FOUND, CAPTURE_DAMAGED, CAPTURE_ENCRYPTED
 *   (a wrong key, or a filter that must see payloads), SCHEMA_TOO_NEW
 */
export function profileCapture({ directory, options }: ProfileRequest): ProfileDocument {
  const key = encryptionKeyOf(options);
  const opened = openForReplay(directory, key, options.window.recorders, false);
  try {
    // An empty capture has a profile too, because the profile also states losses.
    const isEmpty = opened.overview.firstArrivalUs === null;
    const window = isEmpty ? null : sliceOf(opened.overview, options.window);
    const document = profileWindow(opened, window, options, key !== null);
    return options.omitNames ? shareable(document) : document;
  } finally {
    opened.source.close();
  }
}

function profileWindow(
  opened: OpenedCapture,
  window: CaptureSlice | null,
  options: ProfileOptions,
  hasKey: boolean,
): ProfileDocument {
  const { source, overview, inspection } = opened;
  const statistics = new ProfileStatistics(options.timeZone, window?.parts ?? []);
  const payloads = new PayloadStatistics();
  const links = new LinkStatistics();
  const reuse = new ReuseStatistics();
  const filter = rowFilterOf(options.filters, (row) => source.payload(row));
  const isSealed = inspection.encrypted.segments > 0 && !hasKey;
  const cannotLook = overview.arrivalsOnly || isSealed;
  const sample = cannotLook
    ? new PayloadSample(0, 0)
    : sampleOf(opened, window, filter, options.payloadSample);
  const timeline = new Timeline();
  let inWindow = 0;
  for (const part of window?.parts ?? []) {
    statistics.beginWindow(part);
    timeline.begin(part);
    for (const row of source.rows(part)) {
      inWindow += 1;
      if (filter !== null && !filter(row)) continue;
      statistics.add(row, timeline.place(row.arrivalUs));
      const payload = sample.takes() ? source.payload(row) : undefined;
      reuse.add(row, payload === undefined ? null : payloads.add(row, payload));
      links.add(row, payload ?? null);
    }
  }
  statistics.finish();
  const shares = sharesOf(opened, window);
  const context = captureContext(opened, shares, window, options);
  const notes = [
    ...(isSealed && options.payloadSample !== 0 ? [SEALED] : []),
    ...(inspection.coverageIsAtMost && context.coverage === null ? [killedNote(shares)] : []),
  ];
  return buildProfile(statistics, {
    ...context,
    unfilteredRequests: inWindow,
    payloads: sample.isNone ? null : payloads.figures(sample.isComplete),
    ...links.figures(),
    ...reuse.figures(sample.isComplete),
    notes: filter === null ? notes : [...notes, FILTERED],
  });
}

/** The sample is spread over the filtered exchanges. Their number is known only after counting them. */
function sampleOf(
  { source, overview }: OpenedCapture,
  window: CaptureSlice | null,
  filter: RowFilter | null,
  most: number | null,
): PayloadSample {
  if (most === 0 || window === null) return new PayloadSample(0, 0);
  const { parts } = window;
  if (most === null) return new PayloadSample(Number.POSITIVE_INFINITY, 0);
  const total = countOf(overview, parts);
  if (total <= most || filter === null) return new PayloadSample(most, total);
  let selected = 0;
  for (const part of parts) for (const row of source.rows(part)) if (filter(row)) selected += 1;
  return new PayloadSample(most, selected);
}

/** The exchanges of the window. For a part of a capture the roll-ups give the number, in whole seconds. */
function countOf(overview: CaptureOverview, parts: readonly TimeRange[]): number {
  const { firstArrivalUs, lastArrivalUs } = overview;
  const [only] = parts;
  const isWhole =
    parts.length === 1 && only?.fromUs === firstArrivalUs && only?.toUs === (lastArrivalUs ?? 0) + 1;
  if (isWhole) return overview.exchanges;
  let total = 0;
  for (const part of parts) for (const { exchanges } of overview.seconds(part)) total += exchanges;
  return total;
}

const SEALED =
  'the payloads are encrypted and were not looked into; --encryption-key-file names the key that opens them';
const FILTERED =
  'a filter left a part of the traffic out: gaps, bursts and concurrency are those of what is left, and sessions may lack requests';

type CaptureContext = Omit<ProfileContext, 'unfilteredRequests' | 'payloads' | 'notes'>;

type Shares = ReturnType<OpenedCapture['coverageWithin']>;

function sharesOf(
  { overview, unexplained, coverageWithin }: OpenedCapture,
  window: CaptureSlice | null,
): Shares {
  if (window !== null) return coverageWithin(window.coverageRanges);
  return { coverage: overview.coverage, unexplained, isAtLeast: false };
}

/** A profile shows no bound in place of a share. The note has it. */
function killedNote({ coverage }: Shares): string {
  const known = coverage === null ? 'unknown' : `at least ${percent(coverage)}`;
  return `a recording was killed, left no readable account or lacks segments (inspect names it): a part of what it saw is unknown, so coverage is ${known}`;
}

function captureContext(
  opened: OpenedCapture,
  { coverage, unexplained, isAtLeast }: Shares,
  window: CaptureSlice | null,
  options: ProfileOptions,
): CaptureContext {
  const { inspection, overview } = opened;
  const { losses, omitted } = inspection;
  return {
    capture: overview.name,
    timeZone: options.timeZone,
    search: window?.found ?? null,
    filters: [...recordersText(options), ...describeFilters(options.filters)],
    coverage: isAtLeast ? null : coverage,
    coverageUnexplained: isAtLeast ? null : unexplained,
    losses: { ...picked(losses, 'exchanges', 'bytes', 'exact'), by: losses.byReason },
    omitted: { ...picked(omitted, 'exchanges', 'bytes'), by: omitted.byCause },
  };
}

function recordersText({ window }: ProfileOptions): string[] {
  return window.recorders.length === 0 ? [] : [`recorder ${window.recorders.join(' or ')}`];
}

/** A block holds hundreds of payloads. When one is unpacked, its neighbours cost little. */
const LONGEST_RUN = 256;
/** A small sample has shorter runs, so that it covers more than one or two places. */
const LEAST_RUNS = 16;

/** Decides for each exchange whether its payload is inspected. It takes evenly spread runs of neighbours. */
class PayloadSample {
  readonly #most: number;
  readonly #run: number;
  /** Exchanges from the start of one run to the start of the next. May be fractional. */
  readonly #stride: number;
  #seen = 0;
  #taken = 0;

  /** @param most maximum size of the sample, of `total` payloads */
  constructor(most: number, total: number) {
    this.#most = most;
    this.#run = Math.min(LONGEST_RUN, Math.ceil(most / LEAST_RUNS));
    this.#stride = most >= total ? this.#run : total / Math.ceil(most / this.#run);
  }

  get isNone(): boolean {
    return this.#most === 0;
  }

  /** Whether every payload was taken so far. */
  get isComplete(): boolean {
    return this.#taken === this.#seen;
  }

  /** Call it once for each exchange, in order. */
  takes(): boolean {
    const isTaken = this.#taken < this.#most && this.#seen % this.#stride < this.#run;
    this.#seen += 1;
    if (isTaken) this.#taken += 1;
    return isTaken;
  }
}
