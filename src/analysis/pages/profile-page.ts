import { formatBytes, formatMs } from '../../core/units.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { findingsOf } from '../profile/findings.ts';
import { escaped } from './escape.ts';
import { facts, findings, section } from './figure.ts';
import { type PageAssets, page } from './page.ts';
import { arrivalSection, cycleSection } from './profile-arrivals.ts';
import { latencySection, mixSection, partySection, troubleSection } from './profile-mix.ts';
import { payloadSection } from './profile-payloads.ts';
import { number, percent } from './profile-values.ts';
import { timeSeries } from './time-series.ts';

/** The profile as one page to read, to print and to hand on. */
export function profilePage(document: ProfileDocument, assets: PageAssets): string {
  const charts = seriesOf(document);
  const body = [
    headerOf(document),
    findings(findingsOf(document)),
    factsOf(document),
    section('Over time', charts.map(({ html }) => html).join('')),
    section('Daily and weekly cycle', cycleSection(document)),
    section('How requests arrive', arrivalSection(document)),
    section('What is asked', mixSection(document)),
    section('What the payloads ask for', payloadSection(document)),
    section('Latency as recorded', latencySection(document)),
    section('Who asks', partySection(document)),
    section('What went wrong, and what is missing', troubleSection(document)),
    footerOf(document),
  ];
  return page(
    {
      title: `Traffic profile: ${document.window?.from.slice(0, 10) ?? 'empty'}`,
      body: body.filter((part) => part !== '').join('\n'),
      charts: charts.map(({ data }) => data),
      timeZone: document.window?.timeZone ?? 'UTC',
    },
    assets,
  );
}

function headerOf({
  capture,
  window,
  privacy,
  filters,
  requests,
  unfilteredRequests,
}: ProfileDocument): string {
  const when =
    window === null
      ? 'The capture holds no exchange.'
      : `${window.from} to ${window.to}, ${formatMs(window.spanS * 1e3)}; days and hours are those of ${window.timeZone}.`;
  const parts =
    window !== null && window.parts.length > 1 ? ` ${window.parts.length} windows, one after the other.` : '';
  const only =
    filters.length === 0
      ? ''
      : `<p>Only ${escaped(filters.join('; '))}: ${requests} of ${unfilteredRequests} requests.</p>`;
  return `<header><h1>Traffic profile</h1><p>${capture === null ? '' : `${escaped(capture)}. `}${escaped(when + parts)}</p>${only}<p><span class="badge good">no payload, no secret</span>${privacy.shared ? '<span class="badge good">shared form: no names of clients</span>' : '<span class="badge warn">names of routes and models, hashes of clients</span>'}</p></header>`;
}

function factsOf({
  requests,
  rate,
  interArrival,
  idc,
  concurrency,
  latencyMs,
  errors,
  coverage,
}: ProfileDocument): string {
  const ms = (value: number | null) => (value === null ? '–' : formatMs(value));
  return facts([
    ['requests', requests.toLocaleString('en')],
    ['mean rate', `${number(rate.mean)}/s`],
    ['busiest second', rate.peak1s === null ? '–' : `${number(rate.peak1s)}/s`],
    ['busiest hour', rate.peak1h === null ? '–' : `${number(rate.peak1h)}/s`],
    ['CV of gaps', number(interArrival.cv)],
    ['dispersion at 60 s', number(idc['60'])],
    ['latency p50', ms(latencyMs.p50)],
    ['latency p99', ms(latencyMs.p99)],
    ['in flight, mean / most', `${number(concurrency.mean)} / ${concurrency.max ?? '–'}`],
    ['failed', percent(errors.failedShare)],
    ['coverage', percent(coverage)],
  ]);
}

function seriesOf({ series, latencyMs, errors, concurrency, requests }: ProfileDocument) {
  if (requests === 0) return [];
  const { at, stepS } = series;
  const step = `in steps of ${formatMs(stepS * 1e3)}`;
  const perSecond = (values: readonly (number | null)[]) =>
    values.map((value) => (value === null ? null : value / stepS));
  const blocks = [
    timeSeries({
      id: 'rate',
      title: 'Requests over time',
      unit: 'requests/s',
      source: `arrivals as recorded, ${step}; the busiest second of each step beside its mean`,
      lookFor: 'steps, spikes and silences; a busiest second far over the mean is what queues are made of',
      at,
      lines: [
        { label: 'busiest second', values: series.peak1s },
        { label: 'mean', values: perSecond(series.requests) },
      ],
    }),
  ];
  if (errors.failed !== null && errors.failed > 0) {
    blocks.push(
      timeSeries({
        id: 'failed',
        title: 'Failures over time',
        unit: 'failures/s',
        source: `exchanges without a complete answer, or with a 5xx, ${step}`,
        lookFor: 'failures that come with peaks (capacity) and those that come alone (faults)',
        at,
        lines: [{ label: 'failed', values: perSecond(series.failed) }],
      }),
    );
  }
  if (latencyMs.count > 0) {
    blocks.push(
      timeSeries({
        id: 'latency',
        title: 'Latency over time',
        unit: 'ms',
        source: `mean time to the last byte of completed requests, by arrival, ${step}`,
        lookFor: 'latency that rises with the rate: the server was near its limit there',
        at,
        lines: [{ label: 'mean latency', values: series.meanLatencyMs }],
      }),
    );
  }
  if ((concurrency.max ?? 0) > 0) {
    blocks.push(
      timeSeries({
        id: 'in-flight',
        title: 'Requests in flight over time',
        unit: 'requests',
        source: `most requests under way at once, ${step}; what began before the window is not counted`,
        lookFor: 'plateaus: a pool, a batch size or a replica that is full',
        at,
        lines: [{ label: 'most in flight', values: series.inFlight }],
      }),
    );
  }
  return blocks;
}

function footerOf({ privacy, notes, requestBytes }: ProfileDocument): string {
  const list =
    notes.length === 0
      ? ''
      : `<ul class="soft">${notes.map((note) => `<li>${escaped(note)}</li>`).join('')}</ul>`;
  const largest =
    requestBytes.max === null ? '' : ` The largest request body had ${formatBytes(requestBytes.max)}.`;
  return `<section><h2>Notes</h2>${list}<p class="soft">${escaped(privacy.statement + largest)} Percentiles are good to 0.1 %; whatever cannot be known is shown as “–”.</p></section>`;
}
