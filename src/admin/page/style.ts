/** How the page looks: dark and light as the reader's system is, on a wall and on a phone. */
export const STYLE = `
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--text:#16202b;--pale:#566270;--line:#d5dbe2;--plain:#2f6fb3;--good:#1f7a3d;--warn:#8a5a00;--bad:#b3261e;--okback:#e4f4e9;--warnback:#fdf0d5;--badback:#fde5e3;--soft:#e8ecf1}
@media (prefers-color-scheme:dark){:root{--ground:#10151b;--card:#181f27;--text:#e8edf3;--pale:#a3afbd;--line:#313c48;--plain:#6ba7e8;--good:#62c787;--warn:#f0b454;--bad:#ff8a80;--okback:#14301f;--warnback:#3a2b0c;--badback:#451c1a;--soft:#26303b}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:1rem/1.45 system-ui,sans-serif;padding:1rem clamp(.75rem,2vw,2.5rem)}
header,footer{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;align-items:baseline;color:var(--pale)}
h1{font-size:1.15rem;margin:0;color:var(--text)}
h2{font-size:1.1rem;margin:0 0 .6rem}
h3{font-size:.95rem;margin:0;font-weight:600;color:var(--pale)}
p{margin:.3rem 0}
code,.key{font-family:ui-monospace,monospace;font-size:.92em;overflow-wrap:anywhere}
small,.note,.legend{color:var(--pale);font-size:.875rem}
#verdict{border-left:.6rem solid var(--good);background:var(--okback);border-radius:.4rem;padding:.8rem 1.2rem;margin:.8rem 0}
#verdict.warn{border-color:var(--warn);background:var(--warnback)}
#verdict.critical{border-color:var(--bad);background:var(--badback)}
#verdict p{font-size:clamp(1.2rem,2.1vw,2.3rem);line-height:1.25;overflow-wrap:anywhere}
#verdict .do{font-weight:600}
.severity{text-transform:uppercase;letter-spacing:.06em;color:var(--good)}
.warn .severity{color:var(--warn)}.critical .severity{color:var(--bad)}
.figures{list-style:none;margin:0;padding:0;display:grid;gap:.8rem;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr))}
.figures li,.card{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.8rem 1rem}
.value{font-size:clamp(1.7rem,3.2vw,3.4rem);font-weight:650;line-height:1.15;font-variant-numeric:tabular-nums;margin:0}
.spark{display:block;width:100%;height:2.6rem}
.spark polyline{fill:none;stroke:var(--plain);stroke-width:2;vector-effect:non-scaling-stroke}
.spark .area{fill:var(--plain);opacity:.15}
.spark .usual{stroke:var(--pale);stroke-width:1.5;stroke-dasharray:5 4;vector-effect:non-scaling-stroke}
.cards{columns:36rem;column-gap:.8rem;margin-top:.8rem}
.card{break-inside:avoid;margin-bottom:.8rem}
.scroll{overflow-x:auto;position:relative}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-top:1px solid var(--line);vertical-align:top}
thead th{border:0;color:var(--pale);font-weight:600;font-size:.875rem;white-space:nowrap}
tbody th{font-weight:500}
.n,thead th.n{text-align:right;white-space:nowrap}
.wide{width:30%;min-width:3rem}
.tight .wide{width:12%}.tight .n{white-space:normal}
.key{min-width:9.5rem}
.state-for{white-space:nowrap}
.words{overflow-wrap:anywhere;min-width:8rem}
.bar{display:block;width:100%;height:.8rem;margin-top:.35rem}
.ground{fill:var(--soft)}.bar .plain{fill:var(--plain)}.bar .good{fill:var(--good)}.bar .warn{fill:var(--warn)}.bar .bad{fill:var(--bad)}.bar .pale{fill:var(--pale)}.mark{fill:var(--text)}
.state{font-weight:650;white-space:nowrap}.state.good{color:var(--good)}.state.warn{color:var(--warn)}.state.bad{color:var(--bad)}.state.pale{color:var(--pale)}
dl{margin:0}dl div{display:flex;gap:1rem;border-top:1px solid var(--line);padding:.3rem 0}dt{flex:0 0 7rem;color:var(--pale)}dd{margin:0;overflow-wrap:anywhere}
.acts{white-space:nowrap}.act{display:none}.js .act{display:inline}
a{color:var(--plain);margin-right:.6rem}
button,input{font:inherit;font-size:.9375rem;color:inherit;background:var(--card);border:1px solid var(--pale);border-radius:.3rem;padding:.15rem .45rem;min-height:1.9rem;margin-right:.3rem}
button{cursor:pointer}button:hover{background:var(--soft)}
:focus-visible{outline:3px solid var(--plain);outline-offset:2px}
#operator{display:none}.js #operator{display:block;margin:.8rem 0}
#ask{display:none;margin:.4rem 0}.js #ask,.explain #ask{display:block}#ask input{width:min(24rem,100%);background:var(--card);color:var(--text)}
.explain .wide{width:18%}header #ask{margin:0}header #ask input{width:min(15rem,100%)}.explain #verdict p{font-size:1.2rem;line-height:1.4}.explain .card{margin:.8rem 0 0}.explain .cards .card{margin:0 0 .8rem}
.sentences{margin:0;padding-left:1.2rem;overflow-wrap:anywhere}.sentences li{margin:.25rem 0}.differs,.silent{color:var(--warn)}.differs{font-weight:600}
#wrong{color:var(--bad);font-weight:650;overflow-wrap:anywhere}details{border-top:1px solid var(--line);padding:.3rem 0}summary{cursor:pointer;overflow-wrap:anywhere}
#said{font-weight:600;min-height:1.5em}
#stale{display:none;background:var(--bad);color:var(--card);font-weight:650;padding:.5rem 1rem;border-radius:.4rem;margin:.5rem 0}
.stale #stale{display:block}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (max-width:40rem){.figures{grid-template-columns:repeat(2,minmax(0,1fr))}.figures li:last-child{grid-column:1/-1}.figures li,.card{padding:.6rem .7rem}button{min-height:2.5rem}.wide{display:none}.keep .wide{display:table-cell;width:auto}th,td{padding-right:.45rem}tbody th{min-width:6.5rem}}
@media (min-width:110rem){body{font-size:1.15rem}}
`
