import { countOf, formatBytes, formatMs, formatShare } from '../../core/units.ts';
import { type Distribution, IDC_WINDOWS } from '../../documents/parts.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { findingsOf } from './findings.ts';

const NONE = '–';
const LISTED = 8;

/** The profile as lines of plain text: what matters most first. Cells may hold recorded text: print them with care. */
export function profileText(document: ProfileDocument): string[] {
  const { window, requests, filters } = document;
  const lines = [
    `Profile of ${document.capture ?? 'a capture'}`,
    window === null
      ? '  the capture holds no exchange'
      : `  ${window.from} to ${window.to} (${formatMs(window.spanS * 1e3)}), ${countOf(requests, 'request')}`,
    ...(filters.length === 0
      ? []
      : [`  only ${filters.join('; ')}: ${requests} of ${document.unfilteredRequests}`]),
    '',
    ...findingsOf(document).map((finding) => `  ${finding}`),
    '',
    ...arrivalLines(document),
    ...mixLines(document),
    ...latencyLines(document),
    ...payloadLines(document),
    '',
    document.privacy.statement,
    ...(document.notes.length === 0 ? [] : ['', 'Notes', ...document.notes.map((note) => `  ${note}`)]),
  ];
  return lines;
}

function arrivalLines({ rate, peaks, interArrival, idc, concurrency }: ProfileDocument): string[] {
  const { p50Ms, p90Ms, p99Ms, maxMs, cv, ties } = interArrival;
  return [
    'Arrivals',
    `  mean ${number(rate.mean)}/s`,
    ...peaks.map(
      ({ windowS, perSecond, toMean, from }) =>
        `  peak ${windowText(windowS)}: ${number(perSecond)}/s, ${number(toMean, 2)} times the mean, from ${from}`,
    ),
    `  gaps: p50 ${ms(p50Ms)}, p90 ${ms(p90Ms)}, p99 ${ms(p99Ms)}, max ${ms(maxMs)}; CV ${number(cv)}, ties ${percent(ties)}`,
    `  index of dispersion: ${IDC_WINDOWS.map((window) => `${window} s ${number(idc[window], 2)}`).join(', ')}`,
    `  in flight: mean ${number(concurrency.mean, 2)}, max ${concurrency.max ?? NONE}`,
  ];
}

function mixLines(document: ProfileDocument): string[] {
  const { mix, requestBytes, responseBytes, sessions, clients } = document;
  const list = (title: string, items: readonly { readonly name: string; readonly share: number }[]) =>
    items.length === 0
      ? []
      : [
          `  ${title}: ${items
            .slice(0, LISTED)
            .map(({ name, share }) => `${name} ${percent(share)}`)
            .join(', ')}${items.length > LISTED ? ` and ${items.length - LISTED} more` : ''}`,
        ];
  return [
    '',
    'Mix',
    ...list(
      'routes',
      mix.routes.map(({ route, share }) => ({ name: route ?? 'not known', share })),
    ),
    ...list(
      'models',
      mix.models.map(({ model, share }) => ({ name: model ?? 'not known', share })),
    ),
    ...list(
      'statuses',
      mix.statuses.map(({ status, share }) => ({ name: `${status ?? 'none'}`, share })),
    ),
    `  request bodies: ${bytesText(requestBytes)}`,
    `  response bodies: ${bytesText(responseBytes)}`,
    `  duplicates: ${percent(document.duplicateRatio)}${document.duplicateRatioExact ? '' : ' (estimate)'}`,
    `  sessions: ${partyText(sessions)}`,
    `  clients: ${partyText(clients)}`,
  ];
}

function latencyLines({ latencyMs, ttftMs, errors, retries, coverage, losses }: ProfileDocument): string[] {
  return [
    '',
    'Latency as recorded, of completed requests',
    `  to the last byte: ${msText(latencyMs)}`,
    ...(ttftMs.count === 0 ? [] : [`  to the first token: ${msText(ttftMs)}`]),
    '',
    'What went wrong',
    errors.failed === null
      ? '  how requests ended is not known'
      : `  failed ${errors.failed} (${percent(errors.failedShare)}): 5xx ${errors.serverErrors}, client aborted ${errors.clientAborted}, upstream failed ${errors.upstreamFailed}, timed out ${errors.timedOut}; 4xx ${errors.clientErrors}, of them 429 ${errors.tooManyRequests}`,
    `  likely retries ${retries.likely === null ? 'not known' : `${retries.likely} (${percent(retries.share)})`}`,
    `  coverage ${percent(coverage)}; lost in the whole capture: ${losses.exchanges} exchanges`,
  ];
}

function payloadLines({ payloads }: ProfileDocument): string[] {
  if (payloads === null || payloads.read === 0) return [];
  const lines = ['', `Payloads (${payloads.read} read${payloads.complete ? '' : ', a sample'})`];
  for (const kind of payloads.protocols) {
    const facts = [
      fact('batch p50', kind.batch.p50),
      fact('prompt tokens p50', kind.promptTokens.reported.p50),
      fact('prompt tokens p50 (estimate)', kind.promptTokens.estimated.p50),
      fact('output tokens p50', kind.outputTokens.reported.p50),
      fact('output tokens p50 (estimate)', kind.outputTokens.estimated.p50),
      fact('max_tokens p50', kind.maxTokens.p50),
      kind.stream.asked === 0 ? null : `streamed ${percent(kind.stream.share)}`,
      kind.images.total === 0 ? null : `images ${kind.images.total}`,
      kind.tensors.shapes[0] === undefined ? null : `tensors ${kind.tensors.shapes[0].shape}`,
    ].filter((text) => text !== null);
    lines.push(
      `  ${kind.protocol} ${percent(kind.share)}${facts.length === 0 ? '' : `: ${facts.join(', ')}`}`,
    );
  }
  return lines;
}

function fact(name: string, value: number | null): string | null {
  return value === null ? null : `${name} ${value}`;
}

function partyText(parties: ProfileDocument['sessions']): string {
  if (parties.requests === 0) return 'not known';
  const { count, exact, topShares } = parties;
  const bound = exact ? '' : 'at least ';
  return `${exact ? '' : 'about '}${count}; the busiest sent ${bound}${percent(topShares.top1)}, the busiest ten ${bound}${percent(topShares.top10)}`;
}

function bytesText({ count, p50, p90, p99, max }: Distribution): string {
  if (count === 0) return 'not known';
  const text = (bytes: number | null) => (bytes === null ? NONE : formatBytes(bytes));
  return `p50 ${text(p50)}, p90 ${text(p90)}, p99 ${text(p99)}, max ${text(max)}`;
}

function msText({ count, p50, p95, p99, max }: Distribution): string {
  return count === 0 ? 'not known' : `p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}, max ${ms(max)}`;
}

/** `60` → `1 min`. */
export function windowText(windowS: number): string {
  if (windowS < 60) return `${windowS} s`;
  return windowS < 3_600 ? `${windowS / 60} min` : `${windowS / 3_600} h`;
}

function ms(value: number | null): string {
  return value === null ? NONE : formatMs(value);
}

/** What is small keeps three digits that matter: a request a day is a rate, and not 0. */
function number(value: number | null, digits = 3): string {
  if (value === null) return NONE;
  const isSmall = value !== 0 && Math.abs(value) < 0.1;
  return isSmall ? String(Number(value.toPrecision(3))) : value.toFixed(digits);
}

function percent(share: number | null): string {
  return share === null ? NONE : formatShare(share);
}
