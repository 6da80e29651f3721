import { zonedTime } from '../../core/calendar.ts';
import { linesOf } from '../../core/text.ts';
import { formatMs, formatMultiplier, percent } from '../../core/units.ts';
import type { StatementDocument, StatementLimit } from '../../documents/statement.ts';
import { isFound, loadName } from '../capacity/view.ts';
import { headroomSentence } from '../headroom/view.ts';
import { numberText, shareText } from '../render/table.ts';
import { isShorterThanWindow } from '../windows/view.ts';
import { partName, type StatementFindings, VIOLATED } from './limits.ts';

interface Judged extends StatementFindings {
  readonly verdict: StatementDocument['verdict'];
  readonly limits: readonly StatementLimit[];
}

/** The statement in a few sentences: what production did not meet, whether it holds, where it breaks and how. */
export function sentenceOf(judged: Judged): string {
  const { production } = judged;
  const violated = production?.violated ?? [];
  const sentences = [
    violated.length > 0 && `Production itself did not meet ${violated.join(' and ')}.`,
    claimText(judged),
    shortenedText(judged),
    judged.sendable && breakingText(judged),
    firstText(judged),
    judged.sendable && (headroomSentence(judged.headroom) ?? false),
  ];
  return sentences.filter((each) => each !== false && each !== '').join(' ');
}

function claimText({ verdict, multiplier, limits, runs, ...facts }: Judged): string {
  const service = facts.name ?? 'The service';
  const load = `${formatMultiplier(multiplier)} times ${windowText(facts)}`;
  const first = limits.find(({ decides }) => decides);
  const because = first === undefined ? '' : `, because ${first.text}`;
  if (verdict === 'PASS') return `${service} holds ${load}.`;
  if (verdict === 'INCONCLUSIVE')
    return `It is not known whether ${facts.name ?? 'the service'} holds ${load}${because}.`;
  const failed = runs.filter((run) => run.verdict === 'FAIL').map(({ part }) => part);
  const found = limits.find(({ code }) => code === VIOLATED);
  const how = found === undefined ? '' : `: ${found.text}`;
  if (failed.every((part) => part === 'faults')) {
    const others = runs.filter(({ part }) => part !== 'faults');
    const holds = others.every((run) => run.verdict === 'PASS') ? `${service} holds ${load}. ` : '';
    return `${holds}It does not hold the planned failures of dependencies${how}.`;
  }
  return `${service} does not hold ${failed.includes('recorded') ? windowText(facts) : load}${how}.`;
}

/** `the hardest 15 min of 28 days (harder than 99.7 % of 2,688 windows, from 2026-11-03 14:15 UTC)`. */
function windowText({ window, recorded }: Pick<StatementFindings, 'window' | 'recorded'>): string {
  const { lengthS, chosenBy, harderThan, from } = window;
  const { timeZone, days, compared } = recorded;
  const length = formatMs(lengthS * 1e3);
  const since = `from ${zonedTime(Date.parse(from), timeZone)} ${timeZone}`;
  if (compared < 2) return `the recorded ${length} (${since})`;
  const span = days >= 1 ? `${Math.round(days)} days` : formatMs(days * 86_400e3);
  const rank =
    harderThan === null || isShorterThanWindow(recorded)
      ? ''
      : `harder than ${percent(harderThan)} of ${compared.toLocaleString('en')} windows, `;
  return `the ${chosenBy === 'given' ? 'chosen' : chosenBy} ${length} of ${span} (${rank}${since})`;
}

/** How much of the window was replayed at the highest load that is claimed to hold. */
function shortenedText({ verdict, runs, multiplier }: Judged): string {
  const claimed = runs.find(({ part, run }) => part === 'multiplied' && run !== null);
  if (verdict !== 'PASS' || claimed === undefined || claimed.windowShare >= 1) return '';
  return `At ${partName('multiplied', multiplier)}, only the busiest ${shareText(claimed.windowShare)} of this window was replayed.`;
}

/** The interval of the breaking point, of the load that was searched. */
function breakingText({ capacity, verdict }: Judged): string {
  const unknown = 'Where it breaks is not known.';
  if (capacity === null || capacity.calibration?.representative === false) return unknown;
  const { passes, fails, interval } = capacity.breakingPoint;
  const of = `times ${loadName(capacity.load)} of this window`;
  const x = numberText;
  if (interval !== null && isFound(capacity))
    return `${verdict === 'INCONCLUSIVE' ? 'By the search for the breaking point, it' : 'It'} breaks between ${x(interval[0])} and ${x(interval[1])} ${of} (95 %).`;
  if (passes === null && fails === null) return unknown;
  if (fails === null)
    return `It did not break up to ${x(passes!.multiplier)} ${of}; where it does is not known.`;
  if (passes === null) return `It breaks at ${x(fails.multiplier)} ${of} or less.`;
  return `It breaks somewhere between ${x(passes.multiplier)} and ${x(fails.multiplier)} ${of}.`;
}

/** What fails first, and why. Of a FAIL the claim has the objective. */
function firstText({ capacity, sendable, verdict, explanation }: Judged): string {
  const first = capacity?.gaveFirst ?? null;
  const [cause] = explanation?.causes ?? [];
  const why =
    cause !== undefined && `The main cause, with ${shareText(cause.share)} of the time lost: ${cause.text}.`;
  const isNamed = sendable && first !== null && verdict !== 'FAIL';
  return linesOf(isNamed && `First to fail is ${first.objective}.`, why).join(' ');
}
