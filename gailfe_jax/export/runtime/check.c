/* Checks policy.c against the actions of the policy that was exported:

       cc -std=c99 -O2 policy.c check.c -o check -lm && ./check

   With an argument it also shows what goes in and out. */
#include <math.h>
#include <stdio.h>

#include "policy.h"
#include "check_data.h"

int main(int argc, char **argv) {
    float obs[POLICY_OBS_SIZE];
    policy_action action[POLICY_ACTION_SIZE];
    double worst = 0.0;
    int i, n;
    (void)argv;
    if (argc > 1) {
        for (i = 0; i < POLICY_OBS_SIZE; ++i) {
            printf("observation: %s [%s]\n", policy_obs_names[i], policy_obs_units[i]);
        }
        for (i = 0; i < (POLICY_CHOICES ? POLICY_CHOICES : POLICY_ACTION_SIZE); ++i) {
            printf("action: %s [%s]\n", policy_action_names[i], policy_action_units[i]);
        }
    }
    for (n = 0; n < CHECK_COUNT; ++n) {
        for (i = 0; i < POLICY_OBS_SIZE; ++i) {
            obs[i] = check_obs[n * POLICY_OBS_SIZE + i];
        }
        if (policy_act(obs, action) != 0) {
            printf("failed: observation %d is refused\n", n);
            return 1;
        }
        for (i = 0; i < POLICY_ACTION_SIZE; ++i) {
            double error = fabs((double)action[i] - (double)check_action[n * POLICY_ACTION_SIZE + i]);
            if (!(error <= (double)check_tolerance[i])) {
                printf("failed: off by %g; expected at most %g\n", error, (double)check_tolerance[i]);
                return 1;
            }
            worst = error > worst ? error : worst;
        }
    }
    obs[0] = (float)NAN;
    if (policy_act(obs, action) != -1) {
        printf("failed: an observation of nan is not refused\n");
        return 1;
    }
    printf("ok: %d actions, off by %.3g at most (C)\n", CHECK_COUNT, worst);
    return 0;
}
