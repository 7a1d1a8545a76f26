"""Every number that tunes the control loop. docs/tuning.md shows what half and twice of each does.

A threshold has no number of its own. Three relative differences say when two measurements are the same, and one number
of standard errors what is chance; a few times say how long something is settled, remembered, believed or left alone.
Bounds of what is kept, facts of other software, and numbers of a formula stand beside the code that has them.
"""

# Relative differences of two measurements. Up to the first they are the same but for noise; up to the second they are
# of the same load or model; from the third on they clearly differ, and a change that brings as much pays.
NOISE = 0.02
SAME = 0.1
CLEAR = 0.2
# Standard errors beyond which a difference is no chance; twice as many where each sample asks.
SIGMAS = 2.0
# Fewer executions or requests tell nothing; of failures, half as many tell.
MIN_COUNT = 10.0
# Samples in a row that say the same are no chance.
SAMPLES = 3

# --- The objective ---
# Share of the SLO that the prediction leaves unused.
SLO_HEADROOM = 0.06
# Chance with which the target demand may be exceeded while the error budget is spent just as it may be; and the least,
# however much is overspent: what comes more seldom is met when it comes.
CHANCE = 0.1
LEAST_CHANCE = 0.03
# Exponent of the throughput of that kind of clients which is seen; the other kind has the rest.
SEEN_WEIGHT = 0.9
# Share of the saturation throughput beyond which a queue takes minutes to settle.
MAX_UTILIZATION = 0.92
# Busy share of its instances from which a pod serves what it can, not what arrives.
SATURATED = 0.9
# Share of the SLO, as a mean latency of a saturated pod, that is a queue's.
OVERLOADED = 0.75
# Share of what is served, by which a queue may grow or shrink and is stationary.
STATIONARY = 0.05

# --- Times, in seconds ---
# Between two samples of a calm service; half as long while something is under way. Nearer ones are one.
SAMPLE_INTERVAL_SECONDS = 10.0
MIN_SAMPLE_SECONDS = 4.0
# After a metrics window has passed, until the scrape and the reload are behind it. Loads whose cold executions take
# longer than later ones, by more than this in all, are costly.
SETTLE_SECONDS = 6.0
# What has come, or was changed, so lately is not judged and not changed again. Replicas are taken to start in so long,
# until one has.
SETTLED_SECONDS = 60.0
# Within so long an effect follows its cause.
RESPONSE_SECONDS = 120.0
# What moves, such as service times, level and trend, is averaged over so long.
MEMORY_SECONDS = 240.0
# Nothing is taken for a warm-up for longer.
MAX_WARM_UP_SECONDS = 300.0
# What has lasted so long is no passing state; what cannot be judged for so long is given up.
LASTING_SECONDS = 600.0
# What did no good is not tried again for so long; replicas, twice as long each further time, up to a day.
AGAIN_SECONDS = 1800.0
# Changes of so long count where they may not come too often; what is not seen is forgotten by half in it.
HOUR_SECONDS = 3600.0
# Bins in which the past of the arrivals is kept.
BIN_SECONDS = 30

# --- Learning ---
# Share of a new sample in a smoothed value.
SMOOTHING = 0.3
# Executions after which a loaded model is warm.
WARM_EXECUTIONS = 50
# Executions of one batch size that have weight in the fit: it must fit small and large batches alike.
MAX_WEIGHT = 300.0
# Most that is believed of a bias, as a factor and as one over it; of contention; and of the dispersion of arrivals.
MAX_BIAS = 4.0
MAX_CONTENTION = 2.0
MAX_DISPERSION = 8.0
# Batches of closed-loop clients are of this size at least, and so many times what open-loop arrivals would make.
MIN_TELLING_BATCH = 16.0
TOGETHER = 3.0
# Bins of the shortest period that is looked for.
SHORTEST_BINS = 8

# --- Steps ---
# A forecast is at most so many times what was seen, and the busiest pod is reckoned with at most so many times the
# mean; the second where demand has jumped up more than once of late, or closed-loop clients would send more.
MOST_GROWTH = 1.5
MOST_GROWTH_AGAIN = 2.0
# One step multiplies replicas, or a batch size that came full, by at most the first; or adds so many replicas.
STEP_FACTOR = 4
MAX_STEP = 8
# Batches are predicted up to so many times the largest that was seen.
MAX_BATCH_GROWTH = 8
# Share of the SLO that a queue delay may take.
MAX_DELAY_SHARE = 0.1
# Loads that are not urgent take at most this share of the time; changes that are urgent and need not wait, per hour.
LOAD_SHARE = 0.1
FREE_URGENT_CHANGES = 4

# --- Safety ---
# Share of requests that may fail because of a change; of the memory that a reload may fill.
FAILURE_SHARE = 0.001
MEMORY_LIMIT = 0.95
