import { picked } from '../../core/picked.ts';
import { linesOf } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier } from '../../core/units.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import type { HeadroomDocument } from '../../documents/headroom.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import type {
  NotClaimed,
  StatementDocument,
  StatementFacts,
  StatementLimit,
  StatementPart,
  StatementRun,
} from '../../documents/statement.ts';
import { UNCOMPARABLE } from '../capacity/build-document.ts';
import { capacityView, loadName } from '../capacity/view.ts';
import { shareText } from '../render/table.ts';
import { maskedText } from '../report/nist.ts';
import { isShorterThanWindow, shorterLength, shorterText, windowsNotes } from '../windows/view.ts';

/** What the sentence, the limits and what is not claimed are made from. */
export interface StatementFindings extends StatementFacts {
  readonly runs: readonly StatementRun[];
  readonly documents: ReadonlyMap<StatementPart, ReplayDocument>;
  readonly capacity: CapacityDocument | null;
  readonly production: StatementDocument['production'];
  readonly explanation: StatementDocument['explanation'];
  readonly headroom: HeadroomDocument;
}

/** What a part is called, with its load. */
export function partName(part: StatementPart, multiplier: number): string {
  const raised = `${formatMultiplier(multiplier)}x`;
  const names = {
    recorded: '1x',
    multiplied: raised,
    spike: `spike to ${raised}`,
    faults: '1x with faults',
  };
  return names[part];
}

/** The limit that makes a FAIL. */
export const VIOLATED = 'objective_violated';

type Limits = (findings: StatementFindings) => readonly StatementLimit[];

/** First what production itself did not meet, then what decides the verdict, then the others. */
export function limitsOf(findings: StatementFindings): StatementLimit[] {
  const hasFailed = findings.runs.some(({ verdict }) => verdict === 'FAIL');
  const found = [ofRequests, ofRuns, ofSearch, ofServer, ofBudget, ofRecording]
    .flatMap((of) => of(findings))
    // Of a FAIL, what was not decided could change nothing.
    .map((each) => ({ ...each, decides: each.decides && (!hasFailed || each.code === VIOLATED) }));
  return [
    ...ofProduction(findings),
    ...found.filter(({ decides }) => decides),
    ...found.filter(({ decides }) => !decides),
  ];
}

const ofProduction: Limits = ({ production }) =>
  (production?.violated ?? []).map((expression) => ({
    code: 'production_violated',
    text: `production itself did not meet ${expression} in this window`,
    advice: 'Set an objective that production meets, or expect every load to fail it.',
    decides: false,
  }));

const ofRequests: Limits = ({ sendable }) =>
  sendable
    ? []
    : [
        {
          code: 'without_requests',
          text: 'the capture has arrivals but no requests, so nothing could be replayed',
          advice: 'Record with bodies, or import a trace with its payloads.',
          decides: true,
        },
      ];

const ofRuns: Limits = ({ runs, multiplier, documents, sendable }) =>
  (sendable ? runs : []).flatMap(({ part, verdict, skipped, violated }): StatementLimit[] => {
    const name = partName(part, multiplier);
    const { reasons = [] } = documents.get(part) ?? {};
    if (skipped === 'lower_load_failed') {
      const text = `${name} was not replayed, because a lower load has failed`;
      return [{ code: 'part_skipped', text, advice: '', decides: false }];
    }
    if (skipped === 'not_reached') {
      const advice = 'Repeat the command with the same --out: it goes on from here.';
      return [{ code: 'part_missing', text: `${name} was not replayed to its end`, advice, decides: true }];
    }
    if (verdict === 'PASS') return [];
    if (verdict === 'FAIL') {
      const text = `at ${name} the service did not meet ${violated.join(' and ') || 'its objectives'}`;
      return [{ code: VIOLATED, text, advice: '', decides: true }];
    }
    if (reasons.length === 0) {
      const text = `${name} has no verdict`;
      return [{ code: 'no_verdict', text, advice: 'State objectives with --slo.', decides: true }];
    }
    return reasons.map((each) => ({
      code: each.code,
      text: `at ${name}: ${each.text}`,
      advice: each.advice,
      decides: true,
    }));
  });

const ofSearch: Limits = ({ capacity, sendable, multiplier, documents }) => {
  if (!sendable) return [];
  if (capacity === null) {
    const advice = 'Repeat the command with the same --out: it goes on from here.';
    return [
      { code: 'part_missing', text: 'the breaking point was not searched to its end', advice, decides: true },
    ];
  }
  const ended = capacityView(capacity).reasons.map(({ code, text, advice }) => ({
    code,
    text: `search for the breaking point: ${text}`,
    advice,
    decides: UNCOMPARABLE.has(capacity.endedBy),
  }));
  const most = capacity.breakingPoint.interval?.[1] ?? multiplier;
  const load = loadName(capacity.load);
  const passed = capacity.breakingPoint.passes?.multiplier ?? 0;
  const ofRun = documents.get('multiplied')?.verdict;
  if (ofRun === 'INCONCLUSIVE' && passed >= multiplier) {
    const text = `the search passed ${formatMultiplier(passed)}x of ${load}, but that does not decide ${formatMultiplier(multiplier)}x: it plays a shorter stretch, and judges it more roughly`;
    const advice = `Repeat ${formatMultiplier(multiplier)}x when its reasons are mended; the search makes PASS likely.`;
    return [...ended, { code: 'search_passes', text, advice, decides: false }];
  }
  if (ofRun !== 'PASS' || most >= multiplier) return ended;
  const text = `${load} of the window break the service below ${formatMultiplier(multiplier)}x if they last: the window holds because they end`;
  const advice = 'Plan with the breaking point if such a load may last longer.';
  return [...ended, { code: 'breaks_below', text, advice, decides: false }];
};

/** What the run at 1x noted on servers that differ. */
const ofServer: Limits = ({ documents }) =>
  (documents.get('recorded')?.notes ?? [])
    .filter(({ code }) => code === 'server_differs')
    .map((each) => ({ ...picked(each, 'code', 'text', 'advice'), decides: false }));

const ofBudget: Limits = ({ runs, multiplier }) =>
  runs
    .filter(({ lengthS, wholeS, run }) => run !== null && lengthS < wholeS)
    .map(({ part, lengthS, wholeS, windowShare }) => ({
      code: 'shortened',
      text: `${partName(part, multiplier)} lasted ${formatMs(lengthS * 1e3)} of ${formatMs(wholeS * 1e3)}: ${windowShare < 1 ? `the busiest ${shareText(windowShare)} of the window` : 'the whole window, less often'}`,
      advice: 'A larger --budget replays more of it.',
      decides: false,
    }));

/** Limits of the choice of the window, with the time that a window for the payload mix would need. */
const ofRecording: Limits = ({ recorded, window }) => {
  const mix = recorded.windows.find(({ chosenFor }) => chosenFor === 'mix');
  return [
    ...(isShorterThanWindow(recorded)
      ? [
          {
            code: 'shorter_than_window',
            text: shorterText(recorded),
            advice: `Record for longer, or choose among shorter windows: --window hardest=${shorterLength(recorded)}`,
            decides: false,
          },
        ]
      : []),
    ...windowsNotes(recorded).map((each) => ({ ...each, advice: '', decides: false })),
    ...(mix === undefined || window.chosenBy !== 'hardest'
      ? []
      : [
          {
            code: 'mix_not_covered',
            text: `the window has less than half of some payloads that another one has (from ${mix.from.slice(0, 16)}Z)`,
            advice: `Make a second statement of it: --window ${mix.from}..${mix.to}`,
            decides: false,
          },
        ]),
  ];
};

/** What a reader might take for claimed, and is not. */
export function notClaimedOf(findings: StatementFindings): NotClaimed[] {
  const { documents, recorded, window, target, filtered, runs } = findings;
  const run = documents.get('recorded') ?? null;
  const played = [...documents.values()];
  const masked = Math.max(0, ...played.map(({ audit }) => audit?.maskedRequests ?? 0));
  const unsent = Math.max(0, ...played.map(({ unreplayable }) => unreplayable));
  const isScaled = played.some(({ autoscaling }) => (autoscaling?.steps.length ?? 0) > 0);
  const hasFaults = runs.some(({ part }) => part === 'faults');
  const texts: Readonly<Record<string, string | false>> = {
    target: `that production behaves as ${target} does: hardware, data, neighbours and configuration may differ`,
    caches: `the result with colder or warmer caches: every part sent requests of one window${run?.fidelity.duplicateRatio == null ? '' : `, and ${shareText(run.fidelity.duplicateRatio)} of its requests repeat an earlier one`}`,
    dependencies: hasFaults
      ? 'failures of dependencies other than those of --faults, and dependencies that were not real'
      : 'what happens if a dependency is slow or fails (--faults), and dependencies that were not real',
    coverage:
      recorded.coverage !== 1 &&
      `the part of the traffic that was not recorded: ${recorded.coverage === null ? 'how much is not known' : `${shareText(1 - recorded.coverage)}`}`,
    harder_windows:
      window.harderThan === null
        ? 'harder windows: this one was chosen by hand'
        : recorded.compared > 1 &&
          !isShorterThanWindow(recorded) &&
          `other windows, if the traffic changes: this one was harder than ${shareText(window.harderThan)} of ${recorded.compared.toLocaleString('en')} that were recorded`,
    filters: filtered.length > 0 && `requests that the filters left out (only ${filtered.join('; ')})`,
    redaction: masked > 0 && `what masked values would change: ${maskedText(masked)}`,
    unreplayable: unsent > 0 && `${countOf(unsent, 'request')} that could not be replayed`,
    autoscaling: !isScaled && 'how fast replicas are added: none were watched (--monitor)',
  };
  return Object.entries(texts).flatMap(([code, text]) =>
    text === false ? [] : linesOf(text).map((each) => ({ code, text: each })),
  );
}
