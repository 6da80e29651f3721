import { linesOf } from '../../core/text.ts';
import { countOf } from '../../core/units.ts';
import type { Explanation, ExplanationDocument } from '../../documents/explanation.ts';
import { type PageAssets, tablesPart, viewPage } from '../render/html.ts';
import {
  calledHere,
  columnsOf,
  msText,
  NONE,
  numberText,
  shareText,
  type Table,
  type View,
} from '../render/table.ts';
import { causeName } from './words.ts';

/** An explanation in a readable form. @param program how the user calls this program */
export function explanationView(document: ExplanationDocument, program = 'reprise'): View {
  const { verdict, causes, capture, target, run, directory, notes } = document;
  const reasons = causes.map(({ kind, subject, share, text, tryThis, proof }) => {
    const indexes = proof.map(({ index }) => index).join(' ');
    return {
      code: causeName({ kind, subject }),
      title: shareText(share),
      text,
      advice: `${tryThis}${indexes === '' ? '' : ` See reprise show RUN ${indexes}.`}`,
    };
  });
  const [, ...proofs] = whyTables(document);
  return {
    title: 'Why',
    verdict,
    tone: causes.length === 0 ? 'plain' : 'warn',
    headline: headlineOf(document),
    reasons: calledHere(reasons, { RUN: directory }, program),
    notes: notes.map((text) => ({ code: 'limits', text, advice: '' })),
    lines: [`run ${run}: ${capture} against ${target}`, ...factLines(document)],
    sections: [{ key: 'proof', title: 'Proof', tables: proofs }],
  };
}

/** An explanation as a page. */
export function explanationPage(document: ExplanationDocument, assets: PageAssets): string {
  const view = explanationView(document);
  const parts = view.sections.map((each) => tablesPart(each));
  return viewPage(
    view,
    { title: `Why: ${document.run}`, first: '', parts, charts: [], timeZone: 'UTC' },
    assets,
  );
}

export function headlineOf({ against, causes, unexplained, requests }: Explanation): string {
  if (against === null) return 'No request broke an objective, or took twice as long as recorded.';
  const broken =
    against === 'objectives'
      ? `${countOf(requests.broken, 'request')} broke an objective`
      : `${countOf(requests.broken, 'request')} took more than twice as long as recorded`;
  if (causes.length === 0) return `${broken}: nothing in this run explains it.`;
  const shares = causes.map((cause) => `${causeName(cause)} ${shareText(cause.share)}`);
  return `${broken}. Causes: ${[...shares, `not explained ${shareText(unexplained)}`].join(', ')}.`;
}

function factLines({ usualMs, brokenMs, recordedMs, phases, requests }: Explanation): string[] {
  if (requests.broken === 0) return [];
  return linesOf(
    `latency (median): broken requests ${msText(brokenMs)}, the others ${msText(usualMs)}, as recorded ${msText(recordedMs)}`,
    phases !== null &&
      `where broken requests spent it: generator ${shareText(phases.generator)}, connecting ${shareText(phases.connecting)}, until the first token or byte ${shareText(phases.firstByte)}, after it ${shareText(phases.rest)}`,
  );
}

/** The causes, and the requests that prove them; nothing if no request is broken. */
export function whyTables({ causes, against, requests, unexplained }: Explanation): Table[] {
  if (against === null) return [];
  const source = `${numberText(requests.broken)} broken of ${numberText(requests.examined)} requests; each has the same weight`;
  const proofs = causes.flatMap((cause) =>
    cause.proof.map(({ index, affected, ms, causedMs, tokenMs, inFlight, meanInFlight }) => [
      causeName(cause),
      `send ${index}`,
      affected ? 'affected' : 'to compare',
      msText(ms),
      affected ? msText(causedMs) : NONE,
      msText(tokenMs),
      numberText(inFlight),
      numberText(meanInFlight),
    ]),
  );
  return [
    {
      title: 'Causes',
      unit: 'share of what broken requests took too long',
      source,
      lookFor: 'the largest share first: mend it, and replay again',
      columns: columnsOf(['cause', 'what was found', 'try this'], ['share', 'requests']),
      rows: [
        ...causes.map((cause) => [
          causeName(cause),
          cause.text,
          cause.tryThis,
          shareText(cause.share),
          numberText(cause.requests),
        ]),
        ['not explained', NONE, NONE, shareText(unexplained), NONE],
      ],
    },
    ...(proofs.length === 0
      ? []
      : [
          {
            title: 'Requests that show it',
            unit: 'ms, s or min',
            source: 'rows of the run; reprise show RUN INDEX has all of one request',
            lookFor: 'what differs between the affected request and the one to compare',
            columns: columnsOf(
              ['cause', 'request', 'which'],
              ['latency', 'of it by the cause', 'a token each', 'found in flight', 'others on average'],
            ),
            rows: proofs,
          },
        ]),
  ];
}
