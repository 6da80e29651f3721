/** The looks of a report: light and dark, on paper, and in one column where there is no room for more. */
export const PAGE_STYLE = `
:root { color-scheme: light dark; --ink: #1c2733; --soft: #566575; --paper: #fff; --card: #f4f6f8; --line: #d5dde4; --grid: #e3e9ee; --good: #1a7f4b; --warn: #8f5200; --bad: #b3261e; --one: #0b6bcb; --two: #c2571a; --three: #1a7f4b; --four: #7b4bc4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #a3b3c2; --paper: #10161d; --card: #1a232d; --line: #33414f; --grid: #26323e; --good: #5bd08f; --warn: #f0b35b; --bad: #ff8a80; --one: #6bb4ff; --two: #ffa366; --three: #5bd08f; --four: #c2a1ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.25rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: .95rem; margin: 0; }
p { margin: .25rem 0; overflow-wrap: anywhere; }
a { color: var(--one); }
.soft, figcaption, .legend { color: var(--soft); font-size: .85rem; }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-weight: 600; border: 1px solid currentcolor; color: var(--soft); margin-right: .5rem; }
.badge.good { color: var(--good); } .badge.warn { color: var(--warn); } .badge.bad { color: var(--bad); }
.findings { background: var(--card); border-left: 4px solid var(--one); border-radius: .25rem; padding: .75rem 1rem .75rem 2rem; margin: 1rem 0; }
.findings li { margin: .2rem 0; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.facts div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
figure { margin: 0 0 1rem; background: var(--card); border-radius: .5rem; padding: .8rem; min-width: 0; }
figcaption { margin-top: .5rem; }
figure > .soft { margin: .1rem 0 .6rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 1rem; align-items: start; }
svg { display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 9rem; max-width: 26rem; }
.bars { display: grid; grid-template-columns: minmax(5rem, max-content) minmax(3rem, 1fr) max-content; gap: .2rem .6rem; align-items: center; font-size: .9rem; }
.bars .label { overflow-wrap: anywhere; max-width: 18rem; }
.bars .value { text-align: right; font-variant-numeric: tabular-nums; }
.bars svg { width: 100%; height: .8rem; }
.columns svg { width: 100%; height: 8rem; border-bottom: 1px solid var(--soft); }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: .8rem; font-variant-numeric: tabular-nums; gap: .5rem; }
.still > svg { width: 100%; height: 10rem; border-bottom: 1px solid var(--soft); border-left: 1px solid var(--soft); }
.still polyline { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.one { fill: var(--one); } .two { fill: var(--two); } .three { fill: var(--three); } .four { fill: var(--four); }
polyline.one { stroke: var(--one); } polyline.two { stroke: var(--two); } polyline.three { stroke: var(--three); } polyline.four { stroke: var(--four); }
.key { display: inline-block; width: .8rem; height: .8rem; vertical-align: -.1rem; margin: 0 .25rem 0 .75rem; }
.heat svg { width: 100%; min-width: 32rem; height: auto; }
.heat text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.heat rect { fill: var(--one); }
.heat rect.none { fill: none; stroke: var(--line); stroke-dasharray: 2 2; }
.verdict { font-size: 1.1rem; margin: .5rem 0; }
.verdict .badge { font-size: 1.1rem; padding: .15rem .9rem; }
td.good { color: var(--good); font-weight: 600; } td.bad { color: var(--bad); font-weight: 600; }
.reasons { list-style: none; padding-left: 1rem; }
.reasons li + li { margin-top: .7rem; }
.curve svg { width: 100%; min-width: 32rem; height: auto; }
.curve text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.curve line { stroke: var(--grid); }
.curve polyline { fill: none; stroke-width: 2; }
.curve polyline.two { stroke-dasharray: 7 5; }
.curve circle.hollow { fill: var(--card); stroke-width: 1.5; }
circle.one { stroke: var(--one); } circle.two { stroke: var(--two); } circle.three { stroke: var(--three); } circle.four { stroke: var(--four); }
.live[data-drawn] + .still { display: none; }
.uplot, .uplot * { font-family: system-ui, sans-serif; }
.u-legend { font-size: .8rem; color: var(--soft); }
.u-legend th { border: 0; } .u-legend td { border: 0; }
@media print {
  :root { font-size: 12px; --ink: #000; --soft: #444; --paper: #fff; --card: #fff; --line: #999; --grid: #ccc; --one: #0b57a4; --two: #a3440f; --three: #146138; --four: #5d35a0; }
  body { padding: 0; max-width: none; font-size: 11px; }
  figure, .facts div { border: 1px solid var(--line); break-inside: avoid; }
  h2 { break-after: avoid; }
  tr, .bars { break-inside: avoid; }
  .live { display: none; }
  .live[data-drawn] + .still { display: block; }
  .scroll { overflow: visible; }
}
`;
