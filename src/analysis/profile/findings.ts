import { formatMs, formatShare } from '../../core/units.ts';
import type { ProfileDocument } from '../../documents/profile.ts';

/** What a reader should see first, as sentences: how much, how bursty, how regular, how whole. */
export function findingsOf(document: ProfileDocument): string[] {
  if (document.requests === 0) return ['No request lies in the window.'];
  return [
    ...rateFindings(document),
    ...burstFindings(document),
    ...cycleFindings(document),
    ...mixFindings(document),
    ...healthFindings(document),
  ];
}

function rateFindings({ requests, rate, window }: ProfileDocument): string[] {
  const span = window === null ? '' : ` in ${formatMs(window.spanS * 1e3)}`;
  if (rate.mean === null)
    return [`${requests} ${requests === 1 ? 'request' : 'requests'}${span}: too few for a rate.`];
  const peak =
    rate.peak1s === null
      ? ''
      : `; the busiest second had ${rate.peak1s}, ${figure(rate.peakToMean1s)} times that`;
  const hour = rate.peak1h === null ? '' : `; the busiest hour ${figure(rate.peakToMean1h)} times`;
  return [
    `${requests.toLocaleString('en')} requests${span}: ${figure(rate.mean)} per second on average${peak}${hour}.`,
  ];
}

function burstFindings({ interArrival, idc }: ProfileDocument): string[] {
  const { cv } = interArrival;
  if (cv === null) return [];
  const slow = idc['60'] ?? idc['10'];
  const gaps =
    cv < 0.8 ? 'more even than random' : cv <= 1.3 ? 'close to random (Poisson)' : 'burstier than random';
  const counts =
    slow === null
      ? ''
      : slow > 3
        ? `; over ${idc['60'] === null ? '10 s' : 'minutes'} it swings far more than random traffic would (index of dispersion ${figure(slow)})`
        : '; no slow swings';
  return [`Gaps are ${gaps}: CV ${figure(cv)}${counts}.`];
}

function cycleFindings({ cycle }: ProfileDocument): string[] {
  const { compared, days } = cycle.unusual;
  if (compared === 0) return ['Too few whole days to tell a cycle, or days that break it.'];
  if (days.length === 0) return [`No day of ${compared} breaks the daily and weekly cycle.`];
  return days.map((day) => {
    const volume =
      day.volumeRatio === null
        ? 'requests where other days have none'
        : `${figure(day.volumeRatio)} times the requests of ${day.comparedWith}`;
    const shape = day.reasons.includes('shape')
      ? `, ${Math.round(day.shapeDistance * 100)} % of them at other hours`
      : '';
    return `${day.weekday} ${day.day} breaks the cycle: ${volume}${shape}; most at ${String(day.hour).padStart(2, '0')}:00 (${figure(day.hourMean)}/s instead of ${figure(day.hourUsual)}/s).`;
  });
}

function mixFindings({ duplicateRatio, clients, mix }: ProfileDocument): string[] {
  const findings: string[] = [];
  if (duplicateRatio !== null && duplicateRatio > 0.05)
    findings.push(
      `${formatShare(duplicateRatio)} of the requests repeat an earlier one: a cache would see them.`,
    );
  const { top1 } = clients.topShares;
  if (clients.count > 1 && top1 !== null && top1 > 0.2)
    findings.push(
      `One client of ${clients.exact ? '' : 'about '}${clients.count} sends ${clients.exact ? '' : 'at least '}${formatShare(top1)} of the requests.`,
    );
  const streamed = mix.streamed;
  if (streamed !== null && streamed > 0) findings.push(`${streamed} answers came as streams.`);
  return findings;
}

function healthFindings({ errors, retries, coverage, losses }: ProfileDocument): string[] {
  const findings: string[] = [];
  const { failed, failedShare, tooManyRequests } = errors;
  if (failed !== null && failed > 0)
    findings.push(`${failed} requests failed (${formatShare(failedShare ?? 0)}).`);
  if (tooManyRequests !== null && tooManyRequests > 0)
    findings.push(`${tooManyRequests} were turned away with 429.`);
  if (retries.likely !== null && retries.likely > 0)
    findings.push(`${retries.likely} look like retries of one that failed.`);
  if (coverage !== null && coverage < 0.995)
    findings.push(`The capture holds ${formatShare(coverage)} of what was seen: true rates are higher.`);
  if (losses.exchanges > 0) findings.push(`${losses.exchanges} exchanges were lost in the whole capture.`);
  return findings;
}

function figure(value: number | null): string {
  if (value === null) return '–';
  return String(Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(3)));
}
