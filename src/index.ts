/**
 * Reprise as a library: the functions of the command, without printing or exiting, and readers of captures and runs.
 * Options are the command's flags in camel case: `--session-order open` is `sessionOrder: 'open'`. A failure is an
 * `AppError` with a code and a hint.
 */

import { findCapacity } from './app/capacity/capacity.ts';
import { CAPACITY_OPTIONS, resolveCapacityOptions } from './app/capacity/options.ts';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from './app/compare.ts';
import { DOCTOR_OPTIONS, examine, type Finding } from './app/doctor.ts';
import { EXPORT_OPTIONS, exportTraffic } from './app/export.ts';
import { FAULTS_OPTIONS, type RunningFaults, resolveFaultsOptions, startFaults } from './app/fault-relay.ts';
import { FORGET_OPTIONS, forget as forgetIn } from './app/forget.ts';
import { GATE_OPTIONS, type RunningGate, resolveGateOptions, startGate } from './app/gate/gate.ts';
import {
  assertScenarios,
  type PlayedScenario,
  playScenario,
  SCENARIO_OPTIONS,
} from './app/gate/play-scenario.ts';
import { HISTORY_OPTIONS, readHistory } from './app/history.ts';
import { IMPORT_OPTIONS, type ImportName, type ImportResult, importTraffic } from './app/import/import.ts';
import { MERGE_OPTIONS, mergeRuns, resolveMergeOptions } from './app/merge.ts';
import { MOCK_OPTIONS, type RunningMock, resolveMockOptions, startMock } from './app/mock/mock.ts';
import { entryPath, PROGRAM, VERSION } from './app/package.ts';
import { PROFILE_OPTIONS, profileInThread, resolveProfileOptions } from './app/profile.ts';
import { PUBLISH_OPTIONS, type PublishedTo, publish as publishTo } from './app/publish/publish.ts';
import { RECORD_OPTIONS, readRecordOptions, withinRoom } from './app/recording/record-options.ts';
import { Recording, type RecordingEnd } from './app/recording/recording.ts';
import { RUN_OPTIONS, resolveRunOptions } from './app/replay/options.ts';
import type { ReplayReporter } from './app/replay/progress.ts';
import { replayCapture } from './app/replay/replay.ts';
import type { StopSource } from './app/replay/run.ts';
import { REPORT_OPTIONS, reportInThread } from './app/report.ts';
import {
  resolveSelftestOptions,
  SELFTEST_OPTIONS,
  selftestDocument,
  selftest as tryRates,
} from './app/selftest.ts';
import { SHOW_OPTIONS, show as showRequests } from './app/show.ts';
import { systemClock } from './core/clock.ts';
import { byProgram, type OptionShape, resolveOptions, type StatedOptions } from './core/options.ts';
import type { Logger } from './core/ports.ts';
import type { CapacityDocument, CapacityPlanDocument, CapacityStep } from './documents/capacity.ts';
import type { ComparisonDocument } from './documents/comparison.ts';
import type { ReplayEvent } from './documents/events.ts';
import type { HistoryDocument } from './documents/history.ts';
import type { ProfileDocument } from './documents/profile.ts';
import type { ReplayDocument } from './documents/replay.ts';
import type { ReplayPlanDocument } from './documents/replay-plan.ts';
import type { ReportDocument } from './documents/report.ts';
import type { ShownDocument } from './documents/shown.ts';
import { readHostLimits } from './monitors/host.ts';
import { formatEndpoint } from './proxy/net/endpoint.ts';
import type { ForgetDocument } from './storage/capture/forget.ts';

export type RecordOptions = StatedOptions<typeof RECORD_OPTIONS>;
export type ReplayOptions = StatedOptions<typeof RUN_OPTIONS>;
export type CapacityOptions = StatedOptions<typeof CAPACITY_OPTIONS>;
export type ScenarioOptions = StatedOptions<typeof SCENARIO_OPTIONS>;
export type GateOptions = StatedOptions<typeof GATE_OPTIONS>;
export type HistoryOptions = StatedOptions<typeof HISTORY_OPTIONS>;
export type ProfileOptions = StatedOptions<typeof PROFILE_OPTIONS>;
export type ReportOptions = StatedOptions<typeof REPORT_OPTIONS>;
export type PublishOptions = StatedOptions<typeof PUBLISH_OPTIONS>;
export type CompareOptions = StatedOptions<typeof COMPARE_OPTIONS>;
export type MergeOptions = StatedOptions<typeof MERGE_OPTIONS>;
export type ExportOptions = StatedOptions<typeof EXPORT_OPTIONS>;
/** Written out, so that the published type names no package. */
type ImportOptionsByFormat = {
  readonly [Format in ImportName]: {
    readonly [Option in keyof StatedOptions<(typeof IMPORT_OPTIONS)[Format]>]: StatedOptions<
      (typeof IMPORT_OPTIONS)[Format]
    >[Option];
  };
};
export type ImportOptions<Format extends ImportName> = ImportOptionsByFormat[Format];
export type ForgetOptions = StatedOptions<typeof FORGET_OPTIONS>;
export type FaultsOptions = StatedOptions<typeof FAULTS_OPTIONS>;
export type MockOptions = StatedOptions<typeof MOCK_OPTIONS>;
export type DoctorOptions = StatedOptions<typeof DOCTOR_OPTIONS>;
export type ShowOptions = StatedOptions<typeof SHOW_OPTIONS>;
export type SelftestOptions = StatedOptions<typeof SELFTEST_OPTIONS>;
export type SelftestDocument = ReturnType<typeof selftestDocument>;

const SILENT: Logger = { info: () => undefined, warn: () => undefined, error: () => undefined };
const SILENT_REPORTER: ReplayReporter = {
  interactive: false,
  note: () => undefined,
  progress: () => undefined,
  endProgress: () => undefined,
};

/** A running recording. */
export interface RunningRecording {
  /** The addresses for clients, in the order of the `listen` option. Port 0 is replaced by the actual port. */
  readonly addresses: readonly string[];
  /** Resolves when an operator asks it to end, for example with `reprise drain`. */
  readonly drainAsked: Promise<void>;
  /** Stops accepting, waits for open connections according to the options, and seals the capture. */
  stop(): Promise<RecordingEnd>;
}

/**
 * Forwards traffic to a model server and records it until it is stopped.
 * @throws AppError OPTION_INVALID listing every problem; LISTEN_FAILED; OUTPUT_UNWRITABLE unless it fails open
 */
export async function record(
  options: RecordOptions,
  { logger = SILENT }: { readonly logger?: Logger } = {},
): Promise<RunningRecording> {
  const { drainDelayMs, drainDeadlineMs, plane, ...read } = readRecordOptions(
    byProgram(RECORD_OPTIONS, options),
  );
  const recording = new Recording({
    ...read,
    recorderEntry: entryPath('recorder'),
    plane: withinRoom(plane, readHostLimits()),
    version: VERSION,
    estimated: (estimate) => logger.info(estimate, 'disk estimate'),
    logger,
    clock: systemClock,
  });
  const bound = await recording.start();
  return {
    addresses: bound.map(formatEndpoint),
    drainAsked: recording.drainAsked,
    stop: () => recording.stop({ delayMs: drainDelayMs, deadlineMs: drainDeadlineMs }),
  };
}

/** Callbacks of a replay, and the signal that stops it. */
export interface ReplayDeps {
  /** When aborted, the run ends in order and is kept. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: ReplayEvent) => void;
  readonly logger?: Logger;
}

/** A run that was kept. */
export interface ReplayedRun {
  readonly directory: string;
  readonly document: ReplayDocument;
}

/** The plan of a dry run. */
export interface ReplayedPlan {
  readonly directory: null;
  readonly document: ReplayPlanDocument;
}

/**
 * Replays a capture against a target, keeps the run and judges it.
 * @throws AppError OPTION_INVALID listing every problem; the errors of opening a capture; TARGET_FORBIDDEN,
 *   TARGET_UNREACHABLE; RUN_ABORTED if a guard ended the run, which is kept
 */
export async function replay(
  capture: string,
  options: ReplayOptions & { readonly dryRun?: false },
  deps?: ReplayDeps,
): Promise<ReplayedRun>;
export async function replay(
  capture: string,
  options: ReplayOptions,
  deps?: ReplayDeps,
): Promise<ReplayedRun | ReplayedPlan>;
export async function replay(
  capture: string,
  options: ReplayOptions,
  { signal = new AbortController().signal, onEvent, logger = SILENT }: ReplayDeps = {},
): Promise<ReplayedRun | ReplayedPlan> {
  const asked = resolveRunOptions(byProgram(RUN_OPTIONS, options));
  const replayed = await replayCapture(capture, asked, {
    logger,
    listen: () => stoppedBy(signal),
    reporter: { ...SILENT_REPORTER, event: onEvent },
  });
  if (replayed.kind === 'planned') return { directory: null, document: replayed.document };
  if (replayed.end.kind === 'aborted') throw replayed.end.error;
  return { directory: replayed.directory, document: replayed.document };
}

function stoppedBy(signal: AbortSignal): StopSource {
  return {
    signal,
    get received() {
      return signal.aborted ? 'abort' : null;
    },
    end: () => undefined,
  };
}

/** Callbacks of a search, and the signal that stops it. */
export interface CapacityDeps {
  /** When aborted, the search ends after its current work. The same call with the same `out` continues it. */
  readonly signal?: AbortSignal;
  /** Called after each step. */
  readonly onStep?: (step: CapacityStep) => void;
  readonly logger?: Logger;
}

/**
 * Finds the multiplier of the recorded traffic at which a target breaks an objective, with its interval. Windows are
 * classified as by MLRsearch (draft-ietf-bmwg-mlrsearch). The boundary is fitted as by PLRsearch
 * (draft-vpolak-bmwg-plrsearch).
 * @throws AppError OPTION_INVALID listing every problem; the errors of opening a capture; OUTPUT_EXISTS,
 *   TARGET_FORBIDDEN, TARGET_UNREACHABLE
 */
export async function capacity(
  capture: string,
  options: CapacityOptions & { readonly dryRun?: false },
  deps?: CapacityDeps,
): Promise<CapacityDocument>;
export async function capacity(
  capture: string,
  options: CapacityOptions,
  deps?: CapacityDeps,
): Promise<CapacityDocument | CapacityPlanDocument>;
export async function capacity(
  capture: string,
  options: CapacityOptions,
  { signal = new AbortController().signal, onStep, logger = SILENT }: CapacityDeps = {},
): Promise<CapacityDocument | CapacityPlanDocument> {
  const resolved = resolveCapacityOptions(byProgram(CAPACITY_OPTIONS, options));
  return findCapacity(capture, resolved, {
    logger,
    onStep,
    listen: () => stoppedBy(signal),
    reporter: SILENT_REPORTER,
  });
}

/**
 * Runs a named test, like `reprise run`, in a separate process.
 * @param scenario the file of a scenario; with `preset`, the directory of a capture
 * @throws AppError INPUT_INVALID for an invalid scenario, with every problem; TARGET_UNREACHABLE
 */
export async function runScenario(
  scenario: string,
  options: ScenarioOptions = {},
  { signal = new AbortController().signal }: { readonly signal?: AbortSignal } = {},
): Promise<PlayedScenario> {
  const resolved = resolveOptions(SCENARIO_OPTIONS, byProgram(SCENARIO_OPTIONS, options));
  return playScenario(PROGRAM, scenario, resolved, signal);
}

/**
 * Answers Argo Rollouts and Flagger whether a deployment may continue, until `stop`. Each test runs in a separate
 * process.
 * @throws AppError OPTION_INVALID listing every problem; INPUT_INVALID for an invalid scenario; LISTEN_FAILED
 */
export async function gate(
  options: GateOptions,
  { logger = SILENT }: { readonly logger?: Logger } = {},
): Promise<RunningGate> {
  const resolved = resolveGateOptions(byProgram(GATE_OPTIONS, options));
  await assertScenarios(PROGRAM, resolved.scenarios.values());
  return startGate(resolved, PROGRAM, logger);
}

/**
 * The runs that the option `history` kept, by test, and those where a metric changed. @throws AppError INPUT_INVALID
 */
export function history(file: string, options: HistoryOptions = {}): HistoryDocument {
  return readHistory(file, resolveOptions(HISTORY_OPTIONS, byProgram(HISTORY_OPTIONS, options)));
}

/** Calculates the statistics of a capture's traffic, in a thread. @throws AppError */
export async function profile(capture: string, options: ProfileOptions = {}): Promise<ProfileDocument> {
  const resolved = resolveProfileOptions(byProgram(PROFILE_OPTIONS, options));
  return profileInThread({ directory: capture, options: resolved });
}

/** Builds the report of a run, in a thread. @throws AppError */
export async function report(run: string, options: ReportOptions = {}): Promise<ReportDocument> {
  return reportInThread({
    directory: run,
    ...resolveOptions(REPORT_OPTIONS, byProgram(REPORT_OPTIONS, options)),
  });
}

/** Publishes a run, or a search with its steps, to trackers. Credentials come from the environment. @throws AppError */
export async function publish(run: string, options: PublishOptions): Promise<PublishedTo[]> {
  return publishTo(run, resolveOptions(PUBLISH_OPTIONS, byProgram(PUBLISH_OPTIONS, options)), process.env);
}

/** Judges whether B is better or worse than A: two runs, a run and its recording, or two profiles. @throws AppError */
export async function compare(
  a: string,
  b: string,
  options: CompareOptions = {},
): Promise<ComparisonDocument> {
  return compareNamed(a, b, resolveCompareOptions(byProgram(COMPARE_OPTIONS, options)));
}

/** Merges the runs of all shards of a replay, judges them as one run and keeps it. @throws AppError */
export async function merge(
  runs: readonly string[],
  options: MergeOptions = {},
): Promise<{ readonly directory: string; readonly document: ReplayDocument }> {
  const resolved = resolveMergeOptions(byProgram(MERGE_OPTIONS, options));
  const { directory, document } = await mergeRuns(runs, resolved);
  return { directory, document };
}

/**
 * Converts a capture into another tool's file. It can take a window at a multiple of its rate.
 * @returns the number of requests or table rows written
 * @throws AppError; then nothing is left behind
 */
export async function exportCapture(
  format: string,
  capture: string,
  options: ExportOptions,
  { signal = new AbortController().signal }: { readonly signal?: AbortSignal } = {},
): Promise<{ readonly out: string; readonly exported: number; readonly recorded: number }> {
  const asked = byProgram(EXPORT_OPTIONS, options);
  const { out, exported, recorded } = await exportTraffic(format, capture, asked, { signal });
  return { out, exported, recorded };
}

/**
 * Builds a capture from another tool's file (for `otlp` several files), complete or not at all.
 * @throws AppError; then nothing is left behind
 */
export async function importCapture<Format extends ImportName>(
  format: Format,
  file: string | readonly string[],
  options: ImportOptions<Format>,
  { signal = new AbortController().signal }: { readonly signal?: AbortSignal } = {},
): Promise<ImportResult> {
  const asked = byProgram(IMPORT_OPTIONS[format], options as StatedOptions<OptionShape>);
  return importTraffic(format, [file].flat(), asked, { clock: systemClock, signal });
}

/**
 * Removes the exchanges of a session, a client or a time range from a capture.
 * @returns null if aborted: exchanges that were forgotten before stay forgotten
 * @throws AppError
 */
export async function forget(
  capture: string,
  options: ForgetOptions,
  { signal = new AbortController().signal }: { readonly signal?: AbortSignal } = {},
): Promise<ForgetDocument | null> {
  const resolved = resolveOptions(FORGET_OPTIONS, byProgram(FORGET_OPTIONS, options));
  return forgetIn(capture, resolved, { signal });
}

/**
 * Requests of a capture or a run with their answers and times. Payloads are included only with `payload`.
 * @param ids `SEGMENT:ID`, or in a run the position in the plan; empty for the first, slowest or failed ones
 * @throws AppError
 */
export function show(
  directory: string,
  ids: readonly string[] = [],
  options: ShowOptions = {},
): ShownDocument {
  return showRequests(directory, ids, resolveOptions(SHOW_OPTIONS, byProgram(SHOW_OPTIONS, options)));
}

/**
 * Relays traffic between a server and its dependencies, with Toxiproxy's control API, until it is stopped.
 * @throws AppError OPTION_INVALID listing every problem; LISTEN_FAILED
 */
export async function faults(
  options: FaultsOptions,
  { logger = SILENT }: { readonly logger?: Logger } = {},
): Promise<RunningFaults> {
  return await startFaults(resolveFaultsOptions(byProgram(FAULTS_OPTIONS, options)), logger);
}

/**
 * Answers requests with the recorded answers of a capture until `stop`, like `reprise mock`.
 * @throws AppError OPTION_INVALID listing every problem; CAPTURE_EMPTY if it holds no answer; LISTEN_FAILED
 */
export async function mock(
  capture: string,
  options: MockOptions = {},
  { logger = SILENT }: { readonly logger?: Logger } = {},
): Promise<RunningMock> {
  return await startMock(capture, resolveMockOptions(byProgram(MOCK_OPTIONS, options)), logger);
}

/** Checks whether this host is ready to record and replay. @throws AppError */
export async function doctor(options: DoctorOptions = {}): Promise<readonly Finding[]> {
  return examine(resolveOptions(DOCTOR_OPTIONS, byProgram(DOCTOR_OPTIONS, options)));
}

/**
 * Finds the highest rate at which this machine keeps its schedule, against its own server. It takes less than a
 * minute.
 * @throws AppError OPTION_INVALID listing every problem; INTERNAL if that server does not start
 */
export async function selftest(
  options: SelftestOptions = {},
  { signal = new AbortController().signal }: { readonly signal?: AbortSignal } = {},
): Promise<SelftestDocument> {
  const resolved = resolveSelftestOptions(byProgram(SELFTEST_OPTIONS, options));
  return selftestDocument(resolved, await tryRates(resolved, { signal }));
}

export {
  INTERCHANGE_FORMS,
  type InterchangeForm,
  interchangeOf,
} from './analysis/interchange/interchange.ts';
export type { Finding } from './app/doctor.ts';
export type { RunningFaults } from './app/fault-relay.ts';
export type { RunningGate } from './app/gate/gate.ts';
export type { PlayedScenario } from './app/gate/play-scenario.ts';
export type { ImportName as ImportFormat, ImportResult } from './app/import/import.ts';
export { inspect, verify } from './app/inspect.ts';
export type { MockDocument, RunningMock } from './app/mock/mock.ts';
export type { PublishedTo } from './app/publish/publish.ts';
export type { RecordingEnd } from './app/recording/recording.ts';
export { LOSS_REASONS, type LossReason, OMISSION_CAUSES, type OmissionCause } from './core/accounting.ts';
export type { ClockAnchor } from './core/clock.ts';
export { AppError, ERROR_CODES, type ErrorCode } from './core/errors.ts';
export {
  type Body,
  type ChunkTimes,
  type Exchange,
  type ExchangeFacts,
  type ExchangePayload,
  type ExchangeRow,
  type Message,
  type Outcome,
  wholePayload,
} from './core/exchange.ts';
export type { HeaderPair, RequestHead, ResponseHead } from './core/headers.ts';
export {
  headerPairsOf,
  headerValue,
  MARKER_HEADER,
  parseRequestHead,
  parseResponseHead,
} from './core/headers.ts';
export type { CaptureSource, Logger, TimeRange } from './core/ports.ts';
export type { Run, RunSecond, RunTotals, Send, SendError } from './core/run.ts';
export type { CapacityDocument, CapacityPlanDocument, CapacityStep } from './documents/capacity.ts';
export type { ComparisonDocument } from './documents/comparison.ts';
export type { ReplayEvent } from './documents/events.ts';
export type { HistoryDocument } from './documents/history.ts';
export type { ProfileDocument } from './documents/profile.ts';
export type { PublicationDocument } from './documents/publication.ts';
export type { ReplayDocument } from './documents/replay.ts';
export type { ReplayPlanDocument } from './documents/replay-plan.ts';
export type { ReportDocument } from './documents/report.ts';
export type { ShownDocument, ShownRequest } from './documents/shown.ts';
export { resolveCaptureDirectory } from './storage/capture/directory.ts';
export type { ForgetDocument } from './storage/capture/forget.ts';
export type { InspectDocument } from './storage/capture/inspect.ts';
export { inspectCapture } from './storage/capture/inspect.ts';
export { CaptureReader } from './storage/capture/reader.ts';
export type { SecondRollUp } from './storage/capture/roll-ups.ts';
export { RunReader } from './storage/runs/reader.ts';
