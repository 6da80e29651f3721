import { zonedTime } from '../../core/calendar.ts';
import { pathEnd } from '../../core/text.ts';
import { formatMs } from '../../core/units.ts';
import { IDC_WINDOWS } from '../../documents/parts.ts';
import type { PartyFigures, ProfileDocument, ShapeStep } from '../../documents/profile.ts';
import { type Bar, bars, columns, dispersionFigure, drawnSeries, heatMap } from '../render/charts.ts';
import {
  escaped,
  figure,
  findings,
  foldedParts,
  type PageAssets,
  page,
  plainBanner,
  section,
  type Tile,
  tablesPart,
  tilesOf,
} from '../render/html.ts';
import { bytesText, msText, NONE, numberText, shareText } from '../render/table.ts';
import { sampleFloor } from '../stats/percentiles.ts';
import { WEEKDAYS } from './cycle.ts';
import { findingsOf, hourText, profileSections } from './view.ts';

/** Most rows of a list. The JSON document has all. */
const SHOWN = 25;

/** The profile as one page: volume and burstiness on the first screen, then findings, then all figures, collapsed. */
export function profilePage(document: ProfileDocument, assets: PageAssets): string {
  const { window, requests } = document;
  const timeZone = window?.timeZone ?? 'UTC';
  const charts = seriesOf(document, timeZone);
  const [first, ...others] = charts.map(({ html }) => html);
  const drawn = {
    arrivals: arrivalFigures,
    cycle: cycleFigures,
    mix: mixFigures,
    payloads: payloadNote,
    latency: latencyFigures,
    trouble: () => '',
  };
  const standing = findingsOf(document);
  const body = [
    profileBanner(document, timeZone),
    requests === 0 ? '' : tilesOf(profileTiles(document)),
    first ?? '',
    section('What stands out', standing.length === 0 ? '' : findings(standing)),
    foldedParts([
      { id: 'over-time', title: 'Over time', html: others.join('') },
      ...profileSections(document, SHOWN).map((each) => tablesPart(each, drawn[each.key](document))),
      { id: 'parties', title: 'Who asks', html: partyFigures(document) },
      { id: 'notes', title: 'Notes', html: notesOf(document) },
    ]),
  ];
  const title = `Traffic profile: ${window === null ? 'empty' : zonedTime(Date.parse(window.from), timeZone).slice(0, 10)}`;
  return page({ title, body, charts: charts.map(({ data }) => data), timeZone }, assets);
}

function profileBanner(document: ProfileDocument, timeZone: string): string {
  const { capture, window, privacy, filters, requests, unfilteredRequests } = document;
  const time = (instant: string) => zonedTime(Date.parse(instant), timeZone);
  const when =
    window === null
      ? 'the capture holds no exchange'
      : `${time(window.from)} to ${time(window.to)} (${formatMs(window.spanS * 1e3)})${window.parts.length > 1 ? `, ${window.parts.length} windows one after the other` : ''}`;
  const only =
    filters.length === 0
      ? ''
      : `<p class="lead">Only ${escaped(filters.join('; '))}: ${requests} of ${unfilteredRequests} requests.</p>`;
  const names = privacy.shared
    ? '<span class="badge good">shared form: no names of clients</span>'
    : '<span class="badge warn">names of routes and models, hashes of clients</span>';
  const headline = `${capture === null ? 'Traffic' : pathEnd(capture)}: ${numberText(requests)} ${requests === 1 ? 'request' : 'requests'}`;
  const body = `<p class="lead">${escaped(when)}</p>${only}<p><span class="badge good">no payload, no secret</span>${names}</p>`;
  return plainBanner('Traffic profile', headline, body, timeZone);
}

function profileTiles({ rate, idc, concurrency, latencyMs, errors, coverage }: ProfileDocument): Tile[] {
  return [
    {
      label: 'mean rate',
      value: `${numberText(rate.mean)}/s`,
      note: dispersionNote(idc),
    },
    {
      label: 'busiest second',
      value: rate.peak1s === null ? NONE : `${numberText(rate.peak1s)}/s`,
      note: rate.peakToMean1s === null ? '' : `${numberText(rate.peakToMean1s)} times the mean`,
    },
    ...(latencyMs.count < sampleFloor(99)
      ? []
      : [{ label: 'latency p99', value: msText(latencyMs.p99), note: `p50 ${msText(latencyMs.p50)}` }]),
    {
      label: 'most in flight',
      value: numberText(concurrency.max),
      note: `mean ${numberText(concurrency.mean)}`,
    },
    { label: 'failed', value: shareText(errors.failedShare), note: `${numberText(errors.failed)} requests` },
    { label: 'coverage', value: shareText(coverage), note: 'of the traffic that was seen' },
  ];
}

/** The dispersion over the widest window that has one. */
function dispersionNote(idc: ProfileDocument['idc']): string {
  const widest = IDC_WINDOWS.findLast((window) => idc[window] !== null);
  return widest === undefined ? '' : `dispersion at ${widest} s: ${numberText(idc[widest])}`;
}

/** With fewer whole steps, the lines also have the steps at the ends of the window. */
const LEAST_WHOLE = 2;

function seriesOf(
  { series, latencyMs, errors, concurrency, requests, rate, window }: ProfileDocument,
  timeZone: string,
) {
  const { at, stepS } = series;
  const step = `in steps of ${formatMs(stepS * 1e3)}`;
  const [fromS = 0, toS = 0] = [window?.from, window?.to].map((end) => Date.parse(end ?? '') / 1e3);
  // A step that is only partly in the window would look like a drop.
  const isPart = at.map((second) => second + 1 <= fromS || second + (fromS % 1) + stepS > toS);
  const hidesParts = isPart.filter((each) => !each).length >= LEAST_WHOLE;
  const whole = (values: readonly (number | null)[]) =>
    values.map((value, step) => (hidesParts && isPart[step] ? null : value));
  const perSecond = (values: readonly (number | null)[]) =>
    whole(values).map((value) => (value === null ? null : value / stepS));
  // With steps of 1 s, mean and peak are equal. Below one request per second, any request would be a peak.
  const hasPeaks = stepS > 1 && (rate.mean ?? 0) >= 1;
  const charts = [
    {
      isShown: requests > 0,
      tall: true,
      id: 'rate',
      title: 'Requests over time',
      unit: 'requests/s',
      source: `arrivals as recorded, ${step}${hasPeaks ? '; the busiest second of each step compared with its mean' : ''}`,
      lookFor: 'steps, spikes and silences; a busiest second far above the mean makes queues',
      lines: [
        ...(hasPeaks ? [{ label: 'busiest second', values: whole(series.peak1s) }] : []),
        {
          label: hasPeaks ? 'mean' : 'requests',
          values: perSecond(series.requests),
        },
      ],
    },
    {
      isShown: errors.failed !== null && errors.failed > 0,
      id: 'failed',
      title: 'Failures over time',
      unit: 'failures/s',
      source: `exchanges without a complete answer, or with a 5xx, ${step}`,
      lookFor: 'failures that come with peaks (capacity) and those that come alone (faults)',
      lines: [{ label: 'failed', values: perSecond(series.failed) }],
    },
    {
      isShown: latencyMs.count > 0,
      id: 'latency',
      title: 'Latency over time',
      unit: 'ms',
      source: `mean time to the last byte of completed requests, by arrival, ${step}`,
      lookFor: 'latency that rises with the rate: the server was near its limit there',
      lines: [{ label: 'mean latency', values: whole(series.meanLatencyMs) }],
    },
    {
      isShown: (concurrency.max ?? 0) > 0,
      id: 'in-flight',
      title: 'Requests in flight over time',
      unit: 'requests',
      source: `most requests in flight, ${step}; what began before the window is not counted`,
      lookFor: 'plateaus: a pool, a batch size or a replica that is full',
      lines: [{ label: 'most in flight', values: whole(series.inFlight) }],
    },
  ];
  return drawnSeries(
    charts.map((chart) => ({ ...chart, timeZone })),
    at,
  );
}

function notesOf({ privacy, notes, requestBytes }: ProfileDocument): string {
  const list =
    notes.length === 0
      ? ''
      : `<ul class="soft">${notes.map((note) => `<li>${escaped(note)}</li>`).join('')}</ul>`;
  const largest =
    requestBytes.max === null ? '' : ` The largest request body had ${bytesText(requestBytes.max)}.`;
  return `${list}<p class="soft">${escaped(privacy.statement + largest)}</p>`;
}

const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const NAMED_HOURS = new Set([0, 3, 6, 9, 12, 15, 18, 21]);

/** Least hours for a heat map. With fewer, the grid would be almost empty. */
const LEAST_HOURS = 24;

/** Heat map of the known days, and the daily and weekly cycle. Empty for less than a day. */
function cycleFigures({ hourOfWeek, hourOfWeekPerSecond, cycle, window }: ProfileDocument): string {
  const zone = window?.timeZone ?? 'UTC';
  const isRate = hourOfWeekPerSecond.some((value) => value !== null);
  const values = isRate ? hourOfWeekPerSecond : hourOfWeek;
  const daily = dailyFigure(cycle.daily, zone);
  if (values.filter((value) => value !== null && (isRate || value > 0)).length < LEAST_HOURS) return daily;
  const days = WEEKDAYS.map((day, at) => ({ day, values: values.slice(at * 24, at * 24 + 24) })).filter(
    (each) => each.values.some((value) => value !== null),
  );
  const map = figure(
    {
      title: 'Hour of the week',
      unit: isRate ? 'requests/s' : 'requests',
      source: `arrivals by weekday and hour of ${zone}, over the time that lies in the window`,
      lookFor: 'office hours, nights and weekends; a single dark cell is a job that runs once a week',
    },
    heatMap({
      rows: days.map(({ day }) => day.slice(0, 3)),
      columns: HOURS.map((hour) => (NAMED_HOURS.has(hour) ? String(hour) : '')),
      values: days.flatMap((each) => each.values),
      text: (value) => (isRate ? `${numberText(value)}/s` : numberText(value)),
      description: 'requests by weekday and hour',
    }),
  );
  return `${map}<div class="pair">${daily}${weeklyFigure(cycle.weekly, zone)}</div>${unbrokenNote(cycle.unusual)}`;
}

function dailyFigure(daily: ProfileDocument['cycle']['daily'], zone: string): string {
  const known = daily.filter(({ mean }) => mean !== null);
  if (known.length === 0) return '';
  return figure(
    {
      title: 'Hour of the day',
      unit: 'requests/s, mean over days',
      source: `hours of ${zone} that lie whole in the window`,
      lookFor: 'when to test, and how far the peak is above the night',
    },
    columns(
      known.map(({ hour, mean, days }) => ({
        label: hourText(hour),
        value: mean ?? 0,
        text: `${numberText(mean)}/s over ${days} ${days === 1 ? 'day' : 'days'}`,
      })),
      'mean rate by hour of the day',
    ),
  );
}

function weeklyFigure(weekly: ProfileDocument['cycle']['weekly'], zone: string): string {
  const known = weekly.filter(({ mean }) => mean !== null);
  if (known.length === 0) return '';
  return figure(
    {
      title: 'Day of the week',
      unit: 'requests/s, mean',
      source: `weekdays of ${zone}, over the time that lies in the window`,
      lookFor: 'weekends; a weekday that stands out deserves its own window',
    },
    bars(
      known.map(({ weekday, mean, days }) => ({
        label: `${weekday} (${days} whole)`,
        value: mean ?? 0,
        text: `${numberText(mean)}/s`,
      })),
    ),
  );
}

function unbrokenNote({ compared, days }: ProfileDocument['cycle']['unusual']): string {
  if (compared === 0 || days.length > 0) return '';
  return `<p class="soft">Days that break the cycle: none of ${compared}.</p>`;
}

/** Gaps and dispersion. */
function arrivalFigures({ interArrival, idc, requests }: ProfileDocument): string {
  if (requests < 2) return '';
  const dispersion = dispersionFigure(
    [{ name: 'recorded', idc }],
    'growth with the window: slow swings that gaps alone do not show, and autoscalers must follow',
  );
  const gaps = figure(
    {
      title: 'Gaps between arrivals',
      unit: 'share of gaps, by length in ms (steps grow by 1.41)',
      source: 'neighbouring arrivals as recorded',
      lookFor: `two humps: batches and pauses between them. CV ${numberText(interArrival.cv)}, p50 ${msText(interArrival.p50Ms)}, p99 ${msText(interArrival.p99Ms)}, ties ${shareText(interArrival.ties)}`,
    },
    columns(stepBars(interArrival.shape, msText), 'distribution of gaps'),
  );
  return `<div class="pair">${gaps}${dispersion}</div>`;
}

/** Statuses and sizes. */
function mixFigures({ mix, requestBytes, responseBytes }: ProfileDocument): string {
  const statuses = figure(
    {
      title: 'Statuses',
      unit: 'share of requests',
      source: 'status of the answer; none if there was no answer or it was not seen',
      lookFor: '429 and 5xx: a replay that does not reproduce them is not the same test',
    },
    bars(
      mix.statuses.slice(0, SHOWN).map(({ status, share, requests: count }) => ({
        label: `${status ?? 'none'}`,
        value: share,
        text: `${shareText(share)} (${numberText(count)})`,
      })),
      'three',
    ),
  );
  const sizes = (title: string, shape: typeof requestBytes) =>
    shape.count === 0
      ? ''
      : figure(
          {
            title,
            unit: 'share of messages, by bytes (steps grow by 1.41)',
            source: 'bodies after transfer decoding, as recorded',
            lookFor: `more than one hump: different uses of one model. p50 ${bytesText(shape.p50)}, p99 ${bytesText(shape.p99)}, max ${bytesText(shape.max)}`,
          },
          columns(
            stepBars(shape.shape, (value) => bytesText(Math.round(value))),
            title,
          ),
        );
  return `<div class="pair">${statuses}${sizes('Request bodies', requestBytes)}${sizes('Response bodies', responseBytes)}</div>`;
}

function latencyFigures({ latencyMs }: ProfileDocument): string {
  if (latencyMs.count === 0) return '';
  return figure(
    {
      title: 'Time to the last byte',
      unit: 'share of completed requests, by ms (steps grow by 1.41)',
      source: 'the recorder: from a request’s first byte to its answer’s last',
      lookFor: `a long tail or a second hump. p50 ${msText(latencyMs.p50)}, p95 ${msText(latencyMs.p95)}, p99 ${msText(latencyMs.p99)}, max ${msText(latencyMs.max)}`,
    },
    columns(stepBars(latencyMs.shape, msText), 'distribution of latency', 'two'),
  );
}

/** Sessions and clients, and how unevenly they send requests. */
function partyFigures({ sessions, clients }: ProfileDocument): string {
  const one = (title: string, parties: PartyFigures) =>
    parties.requests === 0
      ? ''
      : figure(
          {
            title: `${title}: ${parties.exact ? '' : 'about '}${numberText(parties.count)}`,
            unit: `share of the requests that name one${parties.exact ? '' : ' (lower bounds: too many to count each)'}`,
            source: 'keyed hashes made while recording',
            lookFor: `a few who send most: scaling by sessions then goes in large steps. The busiest ten send ${parties.exact ? '' : 'at least '}${shareText(parties.topShares.top10)}${parties.exact ? `; one sends p50 ${numberText(parties.requestsEach.p50)}, p99 ${numberText(parties.requestsEach.p99)} requests` : ''}`,
          },
          bars(
            parties.top.map(({ id, share, requests }, at) => ({
              label: id ?? `number ${at + 1}`,
              value: share,
              text: `${shareText(share)} (${numberText(requests)})`,
            })),
            'four',
          ),
        );
  const both = one('Sessions', sessions) + one('Clients', clients);
  return both === '' ? '' : `<div class="pair">${both}</div>`;
}

/** How many payloads the tables are based on. */
function payloadNote({ payloads }: ProfileDocument): string {
  if (payloads === null) return '';
  const of = payloads.complete ? 'every request' : 'a sample of the requests, evenly spread over the window';
  const unread = Object.entries(payloads.unread).filter(([, count]) => count > 0);
  const left =
    unread.length === 0
      ? ''
      : ` Not read: ${unread.map(([why, count]) => `${why.replaceAll('_', ' ')} ${numberText(count)}`).join(', ')}.`;
  return `<p class="soft">${numberText(payloads.read)} payloads were looked into, ${of}.${left} Tokens ${payloads.tokenEstimate}.</p>`;
}

/** A cumulative distribution as one bar for each step: the share of values in the step. */
function stepBars(shape: readonly ShapeStep[], text: (value: number) => string): Bar[] {
  return shape.map(({ upTo, share }, at) => {
    const inStep = share - (shape[at - 1]?.share ?? 0);
    return { label: `up to ${text(upTo)}`, value: inStep, text: shareText(inStep) };
  });
}
