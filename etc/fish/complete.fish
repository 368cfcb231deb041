# What the commands of Upstart can be given, as bash has it: src/libexec/complete-words.
#
# It is installed under the name of each command.
function __upstart_complete_words
    /usr/libexec/upstart/complete-words (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c (string replace -r '.*/(.*)\.fish$' '$1' -- (status filename)) -f -a '(__upstart_complete_words)'
