# tmux with vim, top and htop in it: terminals within a terminal.
. /opt/programs/files/common.sh
need tmux vim.tiny top htop
export TERM=xterm HOME=/tmp
until_screen() { for _ in $(seq 600); do if tmux capture-pane -p | grep -q "$1"; then return; fi; sleep 0.1; done; echo "never '$1' on:"; tmux capture-pane -p; exit 1; }
tmux new-session -d -x 100 -y 30 'env PS1="ready> " sh'
until_screen 'ready>'
tmux send-keys 'vim.tiny -u NONE text' Enter
until_screen '"text" \[New'
tmux send-keys ione Enter two Escape yyp :wq Enter
until_screen 'ready>'
for _ in $(seq 100); do [ -s text ] && break; sleep 0.1; done
expect vim "$(tr '\n' , <text)" one,two,two,
tmux send-keys top Enter
until_screen 'load average'
until_screen 'tmux'
tmux send-keys q
tmux send-keys htop Enter
until_screen 'Load average'
tmux send-keys q
tmux resize-window -x 70 -y 20
tmux send-keys 'clear; stty size' Enter
until_screen '^20 70'
tmux split-window -h
expect panes "$(tmux list-panes | wc -l)" 2
tmux kill-server
ps aux | grep -q 'ps aux' && ps -eLf | grep -q ps && ps axjf >/dev/null && pstree -p >/dev/null && pgrep sh >/dev/null
top -b -n 1 | grep -q '%Cpu' && free -m | grep -q Mem && uptime >/dev/null && vmstat 1 2 >/dev/null && w >/dev/null && pmap $$ | grep -q total
