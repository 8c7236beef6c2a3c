-- Forget what is left of the scratch state under the prefix ARGV[1]. KEYS[1] the run's meta. Answers {0}.

wipe(ARGV[1])
return {0}
