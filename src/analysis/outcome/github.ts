import { inert, viewMarkdown } from '../render/table.ts';
import type { Outcome, OutcomeCase } from './outcome.ts';

/** GitHub shows so many annotations of a kind for one step. */
const MOST_ANNOTATIONS = 10;
/** Of the summary of a step; GitHub drops a larger one whole. */
const MOST_SUMMARY_BYTES = 1024 * 1024;

/** What GitHub is told about an outcome. */
export interface GithubReport {
  /** Workflow commands, for the log of the step. */
  readonly annotations: readonly string[];
  /** Markdown, for the file in `GITHUB_STEP_SUMMARY`. */
  readonly summary: string;
  /** `name=value` lines, for the file in `GITHUB_OUTPUT`. */
  readonly outputs: string;
}

/** An outcome as GitHub Actions takes it: an error for what failed or is undecided, and the whole as a summary. */
export function githubReport(outcome: Outcome): GithubReport {
  const { test, result, verdict, cases, view } = outcome;
  const open = result === 'passed' ? [] : cases.filter((each) => each.result !== 'passed');
  // What failed is told before what is only undecided, because the rest may not be shown.
  const told = open.toSorted((a, b) => Number(b.result === 'failed') - Number(a.result === 'failed'));
  return {
    annotations: told.slice(0, MOST_ANNOTATIONS).map((each) => annotation(outcome, each)),
    summary: withinBytes(`${viewMarkdown({ ...view, title: `${view.title}: ${test}` })}\n`, told.length),
    outputs: `verdict=${verdict ?? 'none'}\nresult=${result}\nreasons=${told.map(({ name }) => oneLine(name)).join(';')}\n`,
  };
}

function annotation({ test, verdict }: Outcome, { name, message, advice }: OutcomeCase): string {
  const title = `${verdict ?? 'not valid'}: ${test}`;
  const text = [`${name}: ${message}`, advice].filter((each) => each !== '').join('\n');
  return `::error title=${property(title)}::${data(text)}`;
}

/** As actions/toolkit escapes the data of a workflow command. */
function data(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}

function withinBytes(markdown: string, open: number): string {
  const bytes = Buffer.from(markdown);
  if (bytes.length <= MOST_SUMMARY_BYTES) return markdown;
  const note = `\n\n${inert(`The rest does not fit into a step summary; ${open} checks did not pass.`)}\n`;
  const kept = bytes.subarray(0, MOST_SUMMARY_BYTES - Buffer.byteLength(note) - 3).toString();
  return `${kept.slice(0, kept.lastIndexOf('\n'))}${note}`;
}
